// Each dialog makes an event for its own Cancel button, and never closes it.
#include "host.h"

struct LeaksHandle : Host {
    HANDLE cancelled = CreateEventW(nullptr, 1, 0, nullptr);
};

EXPORT_OBJECT(LeaksHandle)
