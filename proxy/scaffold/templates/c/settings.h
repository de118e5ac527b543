// Reads `[config]`, which comes as JSON: one key with a list of texts. For more than that, take a library for JSON.

#include "plugin.h"

// The list of `key`; false, and an error for the operator, if that is missing or something else, or if there are other keys.
// The list and the error are the caller's to free.
bool settings_read(plugin_string_t *json, const char *key, plugin_list_string_t *list, plugin_string_t *error);

// One text of two, which stay the caller's.
void settings_say(plugin_string_t *all, plugin_string_t first, plugin_string_t second);
