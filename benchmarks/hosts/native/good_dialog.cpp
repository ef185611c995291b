// A correct host: the one of examples/native.
//
// Bug: none
#include "host.h"

EXPORT_OBJECT(Host)
