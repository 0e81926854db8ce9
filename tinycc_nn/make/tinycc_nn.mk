# $(eval $(call tinycc_nn_model,NAME,MODEL,OPTIONS)) adds the rule that compiles a network to C,
# again only when its inputs or the compiler change, and defines
#   NAME_SOURCES  its C files          NAME_CFLAGS  the flags that find its header
# OPTIONS go to `tinycc-nn compile`: -mcpu=cortex-m4 --calib samples.npz ...
# Objects that include NAME.h have to depend on it: main.o: | $(NAME_HEADER)

TINYCC_NN ?= tinycc-nn
TINYCC_NN_BUILD ?= build/tinycc_nn

define tinycc_nn_model
$(1)_SOURCES := $(TINYCC_NN_BUILD)/$(1)/$(1).c $(TINYCC_NN_BUILD)/$(1)/$(1)_data.c
$(1)_HEADER := $(TINYCC_NN_BUILD)/$(1)/$(1).h
$(1)_CFLAGS := -I$(TINYCC_NN_BUILD)/$(1)

$(TINYCC_NN_BUILD)/$(1)/$(1).c: $(2) $(shell command -v $(TINYCC_NN))
	$(TINYCC_NN) compile $(2) -o $(TINYCC_NN_BUILD)/$(1) --name $(1) $(3) \
		-MD -MF $(TINYCC_NN_BUILD)/$(1)/$(1).d

$(TINYCC_NN_BUILD)/$(1)/$(1).h $(TINYCC_NN_BUILD)/$(1)/$(1)_data.c: $(TINYCC_NN_BUILD)/$(1)/$(1).c ;

-include $(TINYCC_NN_BUILD)/$(1)/$(1).d

# The default goal stays the first one of the Makefile itself.
ifeq ($$(.DEFAULT_GOAL),$(TINYCC_NN_BUILD)/$(1)/$(1).c)
.DEFAULT_GOAL :=
endif
endef
