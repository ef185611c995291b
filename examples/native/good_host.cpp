// A correct host: nothing may be found in it.
#include "host.h"

EXPORT_OBJECT(Host)
