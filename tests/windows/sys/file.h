#ifndef UPRES_TESTS_WINDOWS_SYS_FILE_H
#define UPRES_TESTS_WINDOWS_SYS_FILE_H

enum { LOCK_EX = 2 };
int flock(int file, int operation); /* until the file is closed */

#endif
