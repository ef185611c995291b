// A dialog that gives its list of problems back when all is over.
//
// Bug: a worker that reports a problem late, after Done, finds no list.
// Depth: 2
// Code: X1
//
//     Done(NULL, S_OK)
//     Error(E_FAIL, "")
#include "host.h"

struct LateError : Host {
    ~LateError() override { delete[] list; }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *) override {
        list[0]++;
        list[1] += FAILED(result);
        return S_OK;
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        delete[] list;
        list = nullptr;
        return Host::Done(event, result);
    }

    ULONG *list = new ULONG[2]{};
};

EXPORT_OBJECT(LateError)
