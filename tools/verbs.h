/*
 * One function a verb. argv[0] is the verb's name, argv[1..argc-1] its arguments; the result is the exit code. Each
 * prints its own complaint, one line on stderr.
 */
#ifndef UPRES_TOOLS_VERBS_H
#define UPRES_TOOLS_VERBS_H

int verb_upscale(int argc, char **argv);
int verb_encode(int argc, char **argv);
int verb_decode(int argc, char **argv);
int verb_info(int argc, char **argv);
int verb_convert(int argc, char **argv);
int verb_plan(int argc, char **argv);
int verb_compare(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_selftest(int argc, char **argv);
int verb_demo_weights(int argc, char **argv);
int verb_completion(int argc, char **argv);

#endif
