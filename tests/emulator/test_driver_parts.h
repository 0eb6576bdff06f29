/* The parts of test_driver, each in its file. */
#ifndef UPRES_TESTS_EMULATOR_TEST_DRIVER_PARTS_H
#define UPRES_TESTS_EMULATOR_TEST_DRIVER_PARTS_H

void test_streams(void);
void test_compilers(void);

#endif
