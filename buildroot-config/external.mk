include $(sort $(wildcard $(BR2_EXTERNAL_PERCH_PATH)/package/*/*.mk))
