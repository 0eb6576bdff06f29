# Builds the library, the command and the test programs under $(B). Called by build.sh, which knows about packages; plain
# `make` works too. `make B=build/asan SANITIZE=address,undefined` builds the same tree with sanitizers.
#
#   $(B)/libupres.so    loader/ kernels/ runtime/; exports what runtime/upres.sym lists and nothing else
#   $(B)/upres          tools/, linked with the library alone
#   $(B)/tests/NAME     test programs; they link the library's objects, because they look inside
#   $(B)/tests/emulator/libcuda.so.1   the emulated CUDA driver, which programs open in place of the real one
#   $(GEN)/             the kernels for GPUs as C, made by tools/embed_kernels.c; the same for all trees
#
# Building for another machine: CC is the cross compiler, HOSTCC makes programs that run here. For Windows,
# `make B=build/win CC=x86_64-w64-mingw32-gcc`, the names are those of Windows: upres.dll (with libupres.dll.a to link it by),
# upres.exe, NAME.exe, nvcuda.dll; what the compiler needs is linked in, so that each is one file.

B ?= build
GEN ?= build/gen
SANITIZE ?=
ifeq ($(origin CC),default)
CC := $(shell command -v gcc >/dev/null && echo gcc || echo clang)
endif
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
HOSTCC ?= $(shell for c in gcc clang cc; do command -v $$c && break; done)
WINDOWS := $(findstring mingw,$(MACHINE))
ifeq ($(WINDOWS),)
# Older systems have dlopen in a library of its own, newer an empty one.
LIBS := -lm -ldl
DEFLATE := -ldeflate
LIBRARY := $(B)/libupres.so
LIBRARY_FILES := $(LIBRARY) $(B)/libupres.so.0
DRIVER := $(B)/tests/emulator/libcuda.so.1
else
LIBS := -lm
DEFLATE := -lz
LIBRARY := $(B)/upres.dll
LIBRARY_FILES := $(LIBRARY)
DRIVER := $(B)/tests/emulator/nvcuda.dll
EXE := .exe
AR := $(patsubst %gcc,%ar,$(CC))
endif

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ifeq ($(SANITIZE),)
O2 := -O2
O3 := -O3
else
O2 := -O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined
O3 := $(O2)
LDSAN := -fsanitize=$(SANITIZE)
WARN := -w # what the sanitizers put in sets off false warnings; the plain build has them all
endif
# No contraction: the plain C kernels define the results, so they must not depend on what the compiler fuses.
BASE := -std=c11 -D_GNU_SOURCE -I. -g -ffp-contract=off -fvisibility=hidden $(if $(WINDOWS),,-fPIC )-pthread $(WARN)
ifneq ($(WINDOWS),)
# Windows aligns a stack to 16 bytes, GCC spills wider vectors to it as if it were theirs (GCC bug 54412): the assembler makes
# moves of all that need no alignment. Formats are checked by the other builds, as they are GNU's and this GCC expects
# Microsoft's in functions of our own.
BASE += -D_FILE_OFFSET_BITS=64 -Wa,-muse-unaligned-vector-move -Wno-format
LDFLAGS += -static
endif
ifneq ($(filter x86_64%,$(MACHINE)),)
AVX2 := -mavx2 -mfma -mf16c
AVX512 := -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mf16c
endif

# Flags of a source file: the hot ones at -O3, and the instruction set its name tells.
flags = $(BASE) $(if $(filter kernels/% loader/dequant.c tests/emulator/core%,$(1)),$(O3),$(O2)) \
        $(if $(filter %_avx2.c,$(1)),$(AVX2)) $(if $(filter %_avx512.c,$(1)),$(AVX512)) \
        $(if $(WINDOWS),$(if $(filter tests/% tools/sass.c,$(1)),-Itests/windows -include tests/windows/posix.h \
            $(if $(filter tests/api.c,$(1)),,-DUPRES_BUILD))) \
        $(if $(filter tools/deflate.c,$(1)),$(if $(WINDOWS),-DUPRES_ZLIB)) \
        $(if $(filter tools/io_png.c,$(1)),$(if $(WINDOWS),-isystem $(B)/include)) $(CFLAGS)

LIB_SRC := $(wildcard loader/*.c kernels/cpu/*.c runtime/*.c runtime/bench/*.c runtime/cpu/*.c runtime/cuda/*.c runtime/models/*.c runtime/selftest/*.c)
TOOL_SRC := $(filter-out tools/build_file.c tools/embed_kernels.c tools/count_sass.c tools/sass.c,$(wildcard tools/*.c))
CUDA_HEADERS := $(wildcard kernels/cuda/*.h kernels/cuda/*.cuh)
CUDA_SRC := $(wildcard kernels/cuda/*.cu kernels/ptx/*.ptx)
KERNEL_TEST_SRC := $(wildcard tests/kernels/*.c)
GOLDEN_SRC := $(wildcard tests/goldens*.c)
POSIX_SRC := $(if $(WINDOWS),tests/windows/posix.c)
EMULATOR_SRC := $(wildcard tests/emulator/core*.c tests/emulator/driver*.c tests/emulator/ptx*.c) $(POSIX_SRC)
EMULATOR_CORE_TEST_SRC := $(wildcard tests/emulator/test_core*.c)
EMULATOR_DRIVER_TEST_SRC := $(wildcard tests/emulator/test_driver*.c tests/emulator/test_support.c) tests/child.c $(POSIX_SRC)
SHARED_TEST_SRC := $(wildcard tests/json_tree.c tests/synth.c tests/child.c tests/case.c) $(POSIX_SRC)
# header.c and header.cpp are only compiled, by tests/run.sh
# ... and these ask this machine's tools, which say the same of what is built for another.
NOT_FOR_WINDOWS := $(if $(WINDOWS),tests/ptx_checks.c tests/sass_checks.c tests/fuzz.c tests/e2e.c tests/memory_limit.c)
SINGLE_TEST_SRC := $(filter-out $(GOLDEN_SRC) $(SHARED_TEST_SRC) $(NOT_FOR_WINDOWS) tests/synth_main.c tests/header.c,$(wildcard tests/*.c))

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
KERNELS := $(basename $(notdir $(CUDA_SRC)))
GEN_OBJ := $(patsubst %,$(B)/obj/gen/%.o,kernel_table count_table $(KERNELS) $(KERNELS:=_counts))
TESTS := $(patsubst tests/%.c,$(B)/tests/%$(EXE),$(SINGLE_TEST_SRC)) \
         $(if $(KERNEL_TEST_SRC),$(B)/tests/kernels$(EXE)) \
         $(if $(wildcard tests/goldens.c),$(B)/tests/goldens$(EXE)) \
         $(if $(wildcard tests/synth_main.c),$(B)/tests/synth$(EXE)) \
         $(if $(EMULATOR_SRC),$(DRIVER)) \
         $(if $(EMULATOR_CORE_TEST_SRC),$(B)/tests/emulator/test_core$(EXE)) \
         $(if $(EMULATOR_DRIVER_TEST_SRC),$(B)/tests/emulator/test_driver$(EXE))
ALL_SRC := $(LIB_SRC) $(TOOL_SRC) tools/sass.c $(KERNEL_TEST_SRC) $(EMULATOR_SRC) $(EMULATOR_CORE_TEST_SRC) $(EMULATOR_DRIVER_TEST_SRC) \
           $(wildcard tests/*.c) $(POSIX_SRC)

.PHONY: all library command tests clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:
all: library command tests
library: $(LIBRARY_FILES)
command: $(B)/upres$(EXE)
tests: $(TESTS)

# Rebuilt when the compiler or its flags change.
$(B)/obj/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(MACHINE) $(BASE) $(O2) $(O3) $(AVX2) $(AVX512) $(CFLAGS) $(LDFLAGS)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(B)/obj/%.o: %.c $(B)/obj/flags
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(call flags,$<) $(if $(filter $<,$(LIB_SRC)),-DUPRES_BUILD) -MMD -MP -c -o $@ $<

# stb is headers alone: this system's serve any other. STB: their folder.
STB ?= /usr/include/stb
ifneq ($(WINDOWS),)
$(B)/obj/tools/io_png.o: | $(B)/include/stb
$(B)/include/stb:
	@mkdir -p $(@D) && ln -sfn $(STB) $@
endif

# Sources and PTX of the kernels. A file is compiled anew when it, a header, or the compiler changes.
define build_program
	@mkdir -p $(@D)
	@echo "  CC   tools/$(@F).c"
	@$(HOSTCC) -std=c11 -D_GNU_SOURCE -I. -O1 -Wall -Wextra -Werror -pthread -o $@ $(filter %.c,$^) -ldl
endef
BUILD_PROGRAM_SRC := tools/build_file.c tools/build_file.h runtime/cuda/library.c runtime/cuda/library.h
$(GEN)/embed_kernels: tools/embed_kernels.c runtime/cuda/nvrtc.c runtime/cuda/nvrtc.h $(BUILD_PROGRAM_SRC)
	$(build_program)
$(GEN)/compiler: $(GEN)/embed_kernels FORCE
	@$< compiler > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
define embed_kernel
	@echo "  PTX  $<"
	@$(GEN)/embed_kernels file $< $@ $(CUDA_HEADERS)
endef
$(GEN)/%.c: kernels/cuda/%.cu $(CUDA_HEADERS) $(GEN)/embed_kernels $(GEN)/compiler
	$(embed_kernel)
$(GEN)/%.c: kernels/ptx/%.ptx $(GEN)/embed_kernels
	$(embed_kernel)
# Changes when a file comes or goes.
$(GEN)/kernel_list: FORCE
	@mkdir -p $(@D)
	@echo '$(CUDA_SRC) $(CUDA_HEADERS)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(GEN)/kernel_table.c: $(CUDA_HEADERS) $(GEN)/embed_kernels $(GEN)/kernel_list
	@$(GEN)/embed_kernels table $@ $(CUDA_SRC) $(CUDA_HEADERS)
# What they are in machine code, where ptxas and nvdisasm are found; else nothing.
$(GEN)/count_sass: tools/count_sass.c tools/sass.c tools/sass.h runtime/cuda/counts.h $(BUILD_PROGRAM_SRC)
	$(build_program)
$(GEN)/disassembler: $(GEN)/count_sass FORCE
	@$< tools > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(GEN)/%_counts.c: $(GEN)/%.c $(GEN)/count_sass $(GEN)/disassembler
	@$(GEN)/count_sass file $< $@
$(GEN)/count_table.c: $(GEN)/count_sass $(GEN)/kernel_list
	@$(GEN)/count_sass table $@ $(KERNELS)
$(B)/obj/gen/%.o: $(GEN)/%.c runtime/cuda/kernels.h runtime/cuda/counts.h $(B)/obj/flags
	@mkdir -p $(@D)
	@$(CC) $(BASE) -c -o $@ $<

$(B)/obj/libupres.a: $(call obj,$(LIB_SRC)) $(GEN_OBJ)
	@rm -f $@ && $(AR) rcs $@ $^

$(B)/obj/upres.map: runtime/upres.sym
	@mkdir -p $(@D)
	@{ echo '{ global:'; sed '/^#/d; /^$$/d; s/$$/;/' $<; echo 'local: *; };'; } > $@

$(B)/libupres.so: $(call obj,$(LIB_SRC)) $(GEN_OBJ) $(B)/obj/upres.map
	@echo "  LINK $@"
	@$(CC) -shared -pthread $(LDSAN) $(LDFLAGS) -Wl,-soname,libupres.so.0 -Wl,--version-script=$(B)/obj/upres.map \
	    $(if $(LDSAN),,-Wl,-z,defs) -o $@ $(filter %.o,$^) $(LIBS)
$(B)/libupres.so.0: $(B)/libupres.so
	@ln -sf libupres.so $@

# Windows: the names alone, which the linker takes as the list of exports; it also writes what programs link.
$(B)/obj/upres.def: runtime/upres.sym
	@mkdir -p $(@D)
	@{ echo 'EXPORTS'; sed '/^#/d; /^$$/d' $<; } > $@
$(B)/upres.dll: $(call obj,$(LIB_SRC)) $(GEN_OBJ) $(B)/obj/upres.def
	@echo "  LINK $@"
	@$(CC) -shared -pthread $(LDFLAGS) -Wl,--out-implib,$(B)/libupres.dll.a -o $@ $^ $(LIBS)

# What the command was built from, for the head of benchmarks; "" where the source is no repository of its own.
$(B)/obj/commit.c: FORCE
	@mkdir -p $(@D)
	@commit=$$(test -e .git && git describe --always --dirty=+ --exclude='*' 2>/dev/null || true); \
	    echo "extern const char upres_commit[]; const char upres_commit[] = \"$$commit\";" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/obj/commit.o: $(B)/obj/commit.c $(B)/obj/flags
	@$(CC) $(BASE) -c -o $@ $<

# The library is found beside the command (build tree) or in ../lib (installed); by Windows beside it.
RPATH = $(if $(WINDOWS),,-Wl,-rpath,'$(1)')
SHARED := $(if $(WINDOWS),$(B)/libupres.dll.a,-L$(B) -lupres)
$(B)/upres$(EXE): $(call obj,$(TOOL_SRC)) $(B)/obj/commit.o $(LIBRARY_FILES)
	@echo "  LINK $@"
	@$(CC) -pthread $(LDSAN) $(LDFLAGS) $(call RPATH,$$ORIGIN:$$ORIGIN/../lib) -o $@ $(filter %.o,$^) $(SHARED) $(DEFLATE) -lm

define test_program
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -pthread $(LDSAN) $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/obj/libupres.a $(DEFLATE) $(LIBS)
endef
$(B)/tests/kernels$(EXE): $(call obj,$(KERNEL_TEST_SRC) $(POSIX_SRC)) $(B)/obj/libupres.a
	$(test_program)
$(B)/tests/goldens$(EXE): $(call obj,$(GOLDEN_SRC) $(SHARED_TEST_SRC)) $(B)/obj/libupres.a
	$(test_program)
$(B)/tests/synth$(EXE): $(call obj,tests/synth_main.c $(SHARED_TEST_SRC)) $(B)/obj/libupres.a
	$(test_program)
# The public interface is tested as its users meet it, through the shared library.
$(B)/tests/api$(EXE): $(call obj,tests/api.c $(POSIX_SRC)) $(LIBRARY_FILES)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -pthread $(LDSAN) $(LDFLAGS) $(call RPATH,$$ORIGIN/..) -o $@ $(filter %.o,$^) $(SHARED) -lm
	@$(if $(WINDOWS),cp $(LIBRARY) $(@D)/)
$(patsubst tests/%.c,$(B)/tests/%$(EXE),$(filter-out tests/api.c,$(SINGLE_TEST_SRC))): $(B)/tests/%$(EXE): $(B)/obj/tests/%.o $(call obj,$(SHARED_TEST_SRC)) $(B)/obj/libupres.a
	$(test_program)
# Sample files are judged by the golden runner's own code.
$(B)/tests/loader$(EXE): $(call obj,tests/goldens_formats.c)
# Machine code is read as the build reads it.
$(B)/tests/sass_checks$(EXE) $(B)/tests/predict$(EXE): $(call obj,tools/sass.c)

$(B)/tests/cuda_driver$(EXE) $(B)/tests/cuda_cache$(EXE): | $(DRIVER)

# A driver like any other: it links nothing of the library, and shows the driver's functions alone.
$(B)/tests/emulator/libcuda.so.1: $(call obj,$(EMULATOR_SRC)) tests/emulator/libcuda.map
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared -pthread $(LDSAN) $(LDFLAGS) -Wl,-soname,libcuda.so.1 \
	    -Wl,--version-script=tests/emulator/libcuda.map $(if $(LDSAN),,-Wl,-z,defs) -o $@ $(filter %.o,$^) -lm
$(B)/tests/emulator/nvcuda.dll: $(call obj,$(EMULATOR_SRC))
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -shared -pthread $(LDFLAGS) -o $@ $^ -lm
# Opens the driver by its file, as programs do.
$(B)/tests/emulator/test_driver$(EXE): $(call obj,$(EMULATOR_DRIVER_TEST_SRC)) $(DRIVER)
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -pthread $(LDSAN) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS)
# The interpreter's own tests look inside.
$(B)/tests/emulator/test_core$(EXE): $(call obj,$(EMULATOR_CORE_TEST_SRC) $(EMULATOR_SRC))
	@mkdir -p $(@D)
	@echo "  LINK $@"
	@$(CC) -pthread $(LDSAN) $(LDFLAGS) -o $@ $(filter %.o,$^) -lm

clean:
	rm -rf $(B)

-include $(patsubst %.o,%.d,$(call obj,$(ALL_SRC)))
