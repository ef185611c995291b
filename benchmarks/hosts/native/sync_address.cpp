// A dialog that shows the server of a step that is named by its address.
//
// Bug: an address without a port is searched for one where it has ended.
// Depth: 3
// Code: X1
//
//     Progress("sync://", 0, 1)
#include "host.h"

struct SyncAddress : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        if (text != nullptr && starts(text, u"sync://")) {
            const WCHAR *colon = nullptr;
            for (const WCHAR *at = text + 7; *at != 0 && colon == nullptr; at++)
                if (*at == u':') colon = at;
            port = colon[1];
        }
        return Host::Progress(text, index, maximum);
    }

    static bool starts(const WCHAR *text, const WCHAR *with) {
        while (*with != 0)
            if (*text++ != *with++) return false;
        return true;
    }

    ULONG port = 0;
};

EXPORT_OBJECT(SyncAddress)
