/* A program of Windows that runs one of Linux under Wine and waits for it: cc.exe, c++.exe and make.exe of the
 * Windows leg (.ci/windows.py).
 *
 * Wine starts a program of Linux when asked to, but gives no handle to wait for.  So a shell is started that leaves
 * an exit code in a file, and this program waits for the file.  A path of Windows in an argument becomes one
 * of Linux.  cc, gcc,
 * c++ and g++ are the cross-compilers of mingw-w64, and link statically: a DLL then needs nothing that is not there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

enum { POLL_MS = 10, LONGEST_MS = 300000 };

static const struct {
    const char *name, *command;
} PROGRAMS[] = {
    {"cc.exe", "x86_64-w64-mingw32-gcc -static"},  {"gcc.exe", "x86_64-w64-mingw32-gcc -static"},
    {"c++.exe", "x86_64-w64-mingw32-g++ -static"}, {"g++.exe", "x86_64-w64-mingw32-g++ -static"},
    {"make.exe", "make"},
};

static char folder[MAX_PATH]; /* of this call: the script, and what comes of it */

static void fail(const char *what) {
    fprintf(stderr, "linux.c: %s: error %lu\n", what, GetLastError());
    exit(127);
}

/* One of the folder's files as Windows names it; valid until the next call. */
static const char *in_folder(const char *name) {
    static char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s\\%s", folder, name);
    return path;
}

static const char *command_of(const char *program) {
    const char *base = strrchr(program, '\\');
    base = base ? base + 1 : program;
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof PROGRAMS[0]; i++)
        if (_stricmp(base, PROGRAMS[i].name) == 0)
            return PROGRAMS[i].command;
    fail(base);
    return NULL;
}

/* What drive Z: or C: is on Linux, NULL for anything but the beginning of a path on one of them. */
static const char *drive(const char *text) {
    static char path[MAX_PATH];
    if (text[0] == '\0' || text[1] != ':' || (text[2] != '\\' && text[2] != '/'))
        return NULL;
    if (text[0] == 'Z' || text[0] == 'z')
        return "";
    if (text[0] != 'C' && text[0] != 'c')
        return NULL;
    snprintf(path, sizeof path, "%s/drive_c", getenv("WINEPREFIX") ? getenv("WINEPREFIX") : "");
    return path;
}

/* An argument, quoted for the shell; from the beginning of a Windows path on, it is Linux's name of it. */
static void write_argument(FILE *script, const char *text) {
    int path = 0;
    fputs(" '", script);
    for (; *text; text++) {
        const char *root = path ? NULL : drive(text);
        if (root != NULL) {
            path = 1;
            fputs(root, script);
            text += 2;
        }
        if (*text == '\'')
            fputs("'\\''", script);
        else
            fputc(path && *text == '\\' ? '/' : *text, script);
    }
    fputc('\'', script);
}

static void pass_on(const char *name, FILE *to) {
    char buffer[4096];
    size_t size;
    FILE *file = fopen(in_folder(name), "rb");
    if (file == NULL)
        return;
    while ((size = fread(buffer, 1, sizeof buffer, file)) > 0)
        fwrite(buffer, 1, size, to);
    fclose(file);
    DeleteFileA(in_folder(name));
}

int main(int count, char **arguments) {
    char program[MAX_PATH], here[MAX_PATH], shell[MAX_PATH + 32];
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    FILE *file;
    int result = 127, waited = 0;

    GetModuleFileNameA(NULL, program, sizeof program);
    GetCurrentDirectoryA(sizeof here, here);
    snprintf(folder, sizeof folder, "Z:\\tmp\\synctape-linux-%lu-%lu", GetCurrentProcessId(), GetTickCount());
    if (!CreateDirectoryA(folder, NULL))
        fail(folder);
    file = fopen(in_folder("run"), "wb");
    if (file == NULL)
        fail("no script");
    fprintf(file, "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\ncd");
    write_argument(file, here);
    fprintf(file, "\n{ %s", command_of(program));
    for (int i = 1; i < count; i++)
        write_argument(file, arguments[i]);
    fprintf(file, "; } </dev/null >\"$0.out\" 2>\"$0.err\"\necho $? >\"$0.new\"\nmv \"$0.new\" \"$0.code\"\n");
    fclose(file);

    snprintf(shell, sizeof shell, "Z:\\bin\\sh /tmp%s/run", strrchr(folder, '\\'));
    for (char *at = shell + strlen("Z:\\bin\\sh"); *at; at++)
        if (*at == '\\')
            *at = '/';
    if (!CreateProcessA("Z:\\bin\\sh", shell, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process))
        fail("no shell");
    while (GetFileAttributesA(in_folder("run.code")) == INVALID_FILE_ATTRIBUTES && waited < LONGEST_MS) {
        Sleep(POLL_MS);
        waited += POLL_MS;
    }
    pass_on("run.out", stdout);
    pass_on("run.err", stderr);
    if ((file = fopen(in_folder("run.code"), "r")) != NULL) {
        if (fscanf(file, "%d", &result) != 1)
            result = 127;
        fclose(file);
    }
    DeleteFileA(in_folder("run.code"));
    DeleteFileA(in_folder("run"));
    RemoveDirectoryA(folder);
    return result;
}
