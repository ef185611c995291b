/* A DLL of Windows that Wine 8 lacks, for the Windows leg (.ci/windows.py): extensions written in Rust load it for their
 * random numbers.  It lies beside python.exe.
 */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG size); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) {
    return SystemFunction036(data, (ULONG)size);
}
