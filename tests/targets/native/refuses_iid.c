/* The bug: QueryInterface knows IUnknown only and refuses the interface that the object implements (H1).
 *
 *     QueryInterface(IID_IMAPISyncProgressCallback)
 */
#include "callback.h"

static int32_t METHOD query_interface(Callback *self, const uint8_t *riid, void **ppv) {
    if (ppv == NULL)
        return E_POINTER;
    *ppv = NULL;
    if (riid == NULL || memcmp(riid, IID_IUnknown, 16) != 0)
        return E_NOINTERFACE;
    callback_add_ref(self);
    *ppv = self;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    query_interface, callback_add_ref, callback_release, callback_progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
