/* upres completion: what shells complete, written out of the table of options, so that it holds what this program takes. */
#include <stdio.h>
#include <string.h>

#include "tools/options.h"
#include "tools/verbs.h"

/* Verbs as they are completed, and the words that may stand behind them; NULL: files. */
static const struct {
    VerbBit verb;
    const char *operands;
} VERBS[] = {
    {VERB_UPSCALE, NULL}, {VERB_ENCODE, NULL},  {VERB_DECODE, NULL},
    {VERB_INFO, NULL},    {VERB_CONVERT, NULL}, {VERB_PLAN, "upscale encode decode"},
    {VERB_COMPARE, NULL}, {VERB_BENCH, ""},     {VERB_DEMO_WEIGHTS, "seedvr2 flashvsr"},
    {VERB_SELFTEST, ""},  {VERB_COMPLETION, "bash zsh fish"},
};
enum { VERB_COUNT = sizeof VERBS / sizeof *VERBS };

static void print_verbs(void)
{
    for (int i = 0; i < VERB_COUNT; i++) printf("%s%s", i > 0 ? " " : "", verb_name(VERBS[i].verb));
}

/* Text within single quotes, each of the letters in `escaped` behind a backslash. */
static void print_quoted(const char *text, const char *escaped)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') fputs("'\\'", stdout);
        else if (strchr(escaped, *text) != NULL) putchar('\\');
        putchar(*text);
    }
}

/* ------------------------------------------------------------------------------------------------------------- bash */

static void bash_verb(int i)
{
    const char *name = verb_name(VERBS[i].verb);
    OptionText o;
    for (int k = 0; option_text(VERBS[i].verb, k, &o); k++) {
        if (!o.takes_value) continue;
        printf("    %s:--%s", name, o.name);
        if (o.letter != '\0') printf("|%s:-%c", name, o.letter);
        if (o.words[0] != '\0') printf(") words='%s' ;;\n", o.words);
        else printf(") return ;;\n"); /* the shell's own: files */
    }
    printf("    %s:*) words='%s", name, VERBS[i].operands != NULL ? VERBS[i].operands : "");
    for (int k = 0; option_text(VERBS[i].verb, k, &o); k++) printf(" --%s", o.name);
    fputs("' ;;\n", stdout);
}

static void bash(void)
{
    fputs("# bash completion of upres: source it, or keep it as /etc/bash_completion.d/upres\n"
          "_upres() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=upscale words verbs='",
          stdout);
    print_verbs();
    fputs("'\n"
          "    COMPREPLY=()\n"
          "    [ \"$COMP_CWORD\" -gt 1 ] && case \" $verbs \" in *\" ${COMP_WORDS[1]} \"*) verb=${COMP_WORDS[1]} ;; esac\n"
          "    case $verb:$prev in\n",
          stdout);
    for (int i = 0; i < VERB_COUNT; i++) bash_verb(i);
    fputs("    esac\n"
          "    [ \"$COMP_CWORD\" = 1 ] && words=\"$verbs $words --version --list-devices\"\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "}\n"
          "complete -o default -F _upres upres\n",
          stdout);
}

/* -------------------------------------------------------------------------------------------------------------- zsh */

static void zsh_option(const OptionText *o)
{
    fputs("        ", stdout);
    if (o->repeats) fputs("'*'", stdout);
    else if (o->letter != '\0') printf("'(-%c --%s)'", o->letter, o->name);
    if (o->letter != '\0') printf("{-%c,--%s}", o->letter, o->name);
    else printf("--%s", o->name);
    fputs("'[", stdout);
    print_quoted(o->help, "[]:\\");
    fputs("]", stdout);
    if (o->takes_value) {
        fputs(":value:", stdout);
        if (o->words[0] != '\0') printf("(%s)", o->words);
        else if (o->takes_file) fputs("_files", stdout);
    }
    fputs("' \\\n", stdout);
}

static void zsh(void)
{
    fputs("#compdef upres\n"
          "# zsh completion of upres: keep it as _upres in a folder of $fpath\n"
          "_upres() {\n"
          "    local verb=upscale\n"
          "    local -a verbs=(",
          stdout);
    print_verbs();
    fputs(")\n"
          "    if (( CURRENT > 2 )) && (( ${verbs[(Ie)$words[2]]} )); then\n"
          "        verb=$words[2]\n"
          "        words=(\"$words[1]\" \"${(@)words[3,-1]}\")\n"
          "        (( CURRENT-- ))\n"
          "    elif (( CURRENT == 2 )); then\n"
          "        compadd -a verbs\n"
          "        compadd -- --version --list-devices\n"
          "    fi\n"
          "    case $verb in\n",
          stdout);
    for (int i = 0; i < VERB_COUNT; i++) {
        const char *operands = VERBS[i].operands;
        OptionText o;
        printf("    %s) _arguments \\\n", verb_name(VERBS[i].verb));
        for (int k = 0; option_text(VERBS[i].verb, k, &o); k++) zsh_option(&o);
        if (operands == NULL) fputs("        '*:file:_files' ;;\n", stdout);
        else if (operands[0] == '\0') fputs("        '*:pattern:' ;;\n", stdout);
        else printf("        '*:word:(%s)' ;;\n", operands);
    }
    fputs("    esac\n"
          "}\n"
          "_upres \"$@\"\n",
          stdout);
}

/* ------------------------------------------------------------------------------------------------------------- fish */

/* Where what is told holds: behind the verb; of upscale, which need not be named, behind no other. */
static void fish_condition(int i)
{
    if (VERBS[i].verb != VERB_UPSCALE) {
        printf("complete -c upres -n '__fish_seen_subcommand_from %s'", verb_name(VERBS[i].verb));
        return;
    }
    fputs("complete -c upres -n 'not __fish_seen_subcommand_from", stdout);
    for (int k = 0; k < VERB_COUNT; k++)
        if (k != i) printf(" %s", verb_name(VERBS[k].verb));
    fputs("'", stdout);
}

static void fish(void)
{
    fputs("# fish completion of upres: keep it as ~/.config/fish/completions/upres.fish\n", stdout);
    for (int i = 0; i < VERB_COUNT; i++) {
        const char *operands = VERBS[i].operands;
        OptionText o;
        printf("complete -c upres -n '__fish_use_subcommand' -a %s\n", verb_name(VERBS[i].verb));
        for (int k = 0; option_text(VERBS[i].verb, k, &o); k++) {
            fish_condition(i);
            printf(" -l %s", o.name);
            if (o.letter != '\0') printf(" -s %c", o.letter);
            if (o.takes_value) fputs(o.takes_file ? " -r" : " -x", stdout);
            if (o.words[0] != '\0') printf(" -a '%s'", o.words);
            fputs(" -d '", stdout);
            print_quoted(o.help, "\\");
            fputs("'\n", stdout);
        }
        if (operands == NULL) continue;
        fish_condition(i);
        printf(" -f -a '%s'\n", operands);
    }
    fputs("complete -c upres -n '__fish_use_subcommand' -l version -l list-devices\n", stdout);
}

/* ------------------------------------------------------------------------------------------------------------ verb */

static bool complete(Job *job, int argc, char **argv, Problem *p)
{
    if (!job_parse(job, VERB_COMPLETION, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_COMPLETION);
        return true;
    }
    const char *shell = job->operand_count == 1 ? job->operands[0] : "";
    if (strcmp(shell, "bash") == 0) bash();
    else if (strcmp(shell, "zsh") == 0) zsh();
    else if (strcmp(shell, "fish") == 0) fish();
    else if (job->operand_count == 1) return problem(p, EXIT_USAGE, "\"%s\" is no shell known here; give bash, zsh or fish", shell);
    else return problem(p, EXIT_USAGE, "completion takes one shell, not %zu; give bash, zsh or fish", job->operand_count);
    return true;
}

int verb_completion(int argc, char **argv)
{
    return job_run(complete, argc, argv);
}
