################################################################################
#
# perch
#
################################################################################

# The programs come from the checkout that this tree is part of: there is
# nothing to download, and their version is the checkout's.
PERCH_VERSION = $(PERCH_RELEASE)
PERCH_SITE = $(PERCH_BINARIES)
PERCH_SITE_METHOD = local
PERCH_LICENSE = MIT or Apache-2.0
PERCH_INSTALL_IMAGES = YES

# perch-sim and the like are for a developer's computer.
PERCH_PROGRAMS = perch-appliance perch-panel perch-pds perch-timeguard perchctl

ifeq ($(BR2_PACKAGE_PERCH)$(MAKECMDGOALS:%config=),y)
ifeq ($(PERCH_BINARIES),)
$(error PERCH_BINARIES names no folder: build the programs by `cargo xtask cross`)
endif
endif

# The programs are packed apart from the root file system.
define PERCH_INSTALL_IMAGES_CMDS
	$(foreach program,$(PERCH_PROGRAMS), \
		$(INSTALL) -D -m 0755 $(@D)/$(program) $(BINARIES_DIR)/perch/bin/$(program)
	)
endef

# What each board has is part of the programs' knowledge, not of the base.
define PERCH_INSTALL_BOARDS
	$(foreach board,$(notdir $(patsubst %/board.toml,%,$(wildcard $(BR2_EXTERNAL_PERCH_PATH)/../board/*/board.toml))), \
		$(INSTALL) -D -m 0644 $(BR2_EXTERNAL_PERCH_PATH)/../board/$(board)/board.toml \
			$(BINARIES_DIR)/perch/boards/$(board)/board.toml
	)
	$(INSTALL) -D -m 0644 $(BR2_EXTERNAL_PERCH_PATH)/../board/uas-quirks.toml \
		$(BINARIES_DIR)/perch/boards/uas-quirks.toml
endef
PERCH_POST_INSTALL_IMAGES_HOOKS += PERCH_INSTALL_BOARDS

$(eval $(generic-package))
