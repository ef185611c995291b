// Release counts down to 0 and leaves the object where it is: nobody deletes it.
#include "host.h"

struct NeverFreed : Host {
    ULONG STDMETHODCALLTYPE Release() override { return --references; }
};

EXPORT_OBJECT(NeverFreed)
