// The model of a Send/Receive dialog: a correct host of IMAPISyncProgressCallback.
//
// It copies each text during the call and shows at most 260 units of it, shows a share of 0..100 for any index and
// maximum, may be called on any thread, closes Done's handle once, and ignores what comes after Done.  The other
// hosts of this folder differ from it by one mistake each.
#pragma once

#include "mapisync.h"

#include <deque>
#include <mutex>

struct Problem {
    HRESULT result;
    Text text;
};

struct Host : ComObject<IMAPISyncProgressCallback> {
    static constexpr std::size_t shown = 260;    // units of a text
    static constexpr std::size_t remembered = 100;  // problems, the newest

    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        const std::lock_guard<std::mutex> hold(lock);
        if (done) return S_OK;
        if (text != nullptr) step = copied(text);
        percent = share(index, maximum);
        return S_OK;
    }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        const std::lock_guard<std::mutex> hold(lock);
        if (done) return S_OK;
        problems.push_back({result, text != nullptr ? copied(text) : Text()});
        if (problems.size() > remembered) problems.pop_front();
        return S_OK;
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        const std::lock_guard<std::mutex> hold(lock);
        if (done) return S_OK;
        done = true;
        final = result;
        if (event != nullptr) CloseHandle(event);
        return S_OK;
    }

    // The text's units up to its NUL, cut to what is shown, and never in the middle of a surrogate pair.
    static Text copied(const WCHAR *text) {
        std::size_t length = 0;
        while (length < shown && text[length] != 0) length++;
        if (length == shown && (text[length - 1] & 0xfc00) == 0xd800) length--;
        return Text(text, length);
    }

    static ULONG share(ULONG index, ULONG maximum) {
        if (maximum == 0) return 0;
        return index < maximum ? static_cast<ULONG>(std::uint64_t{index} * 100 / maximum) : 100;
    }

    std::mutex lock;
    Text step;
    ULONG percent = 0;
    std::deque<Problem> problems;
    bool done = false;
    HRESULT final = S_OK;
};
