// The text's pointer is posted to the dialog's own thread, which reads it when it comes to paint.
#include "host.h"

#include <condition_variable>
#include <thread>

struct PaintsLater : Host {
    ~PaintsLater() override {
        {
            const std::lock_guard<std::mutex> hold(lock);
            closing = true;
        }
        changed.notify_one();
        painter.join();
    }

    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        if (text != nullptr) {
            const std::lock_guard<std::mutex> hold(lock);
            posted.push_back(text);
        }
        changed.notify_one();
        return Host::Progress(nullptr, index, maximum);
    }

    void paint() {
        std::unique_lock<std::mutex> hold(lock);
        while (!closing || !posted.empty()) {
            changed.wait(hold, [this] { return closing || !posted.empty(); });
            changed.wait_for(hold, std::chrono::milliseconds(10), [this] { return closing; });  // the next frame
            for (; !posted.empty(); posted.pop_front()) step = copied(posted.front());
        }
    }

    std::deque<const WCHAR *> posted;
    std::condition_variable changed;
    bool closing = false;
    std::thread painter{&PaintsLater::paint, this};
};

EXPORT_OBJECT(PaintsLater)
