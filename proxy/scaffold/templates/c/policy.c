// Closes some paths and marks the requests that pass.

#include <stdlib.h>

#include "plugin.h"
#include "settings.h"

static tidegate_policy_matching_matcher_t closed;

// For arguments: a text of this program, which nobody frees. What is returned to the proxy is freed when it was read, and
// so is a copy (plugin_string_dup).
static plugin_string_t text(const char *chars) {
  plugin_string_t text;
  plugin_string_set(&text, chars);
  return text;
}

void exports_tidegate_policy_lifecycle_describe(plugin_list_tuple2_string_string_t *facts) {
  // The schema is that of the `[config]` table of {{name}}.toml; operators read its descriptions.
  static const char *const KNOWN[][2] = {
      {"name", "{{name}}"},
      {"version", "0.1.0"},
      {"description", "Closes some paths and marks the requests that pass"},
      {"config-schema",
       "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"closed\"],\"properties\":{"
       "\"closed\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
       "\"description\":\"Globs over the path. Who asks for one of these gets 403.\"} } }"},
  };
  facts->len = sizeof KNOWN / sizeof *KNOWN;
  facts->ptr = malloc(sizeof *facts->ptr * facts->len);
  for (size_t i = 0; i < facts->len; i++) {
    plugin_string_dup(&facts->ptr[i].f0, KNOWN[i][0]);
    plugin_string_dup(&facts->ptr[i].f1, KNOWN[i][1]);
  }
}

// `false` refuses the configuration; the key at fault stands before the first colon of the error.
bool exports_tidegate_policy_lifecycle_configure(plugin_string_t *config, plugin_string_t *error) {
  plugin_list_string_t globs;
  if (!settings_read(config, "closed", &globs, error)) return false;
  plugin_string_t reason;
  bool good = tidegate_policy_matching_path_patterns(TIDEGATE_POLICY_MATCHING_PATTERN_KIND_GLOB, &globs, false,
                                                     &closed, &reason);
  plugin_list_string_free(&globs);
  if (!good) {
    // It begins with the index: `[1]: …`.
    settings_say(error, text("closed"), reason);
    plugin_string_free(&reason);
  }
  return good;
}

exports_tidegate_policy_request_phase_verdict_t exports_tidegate_policy_request_phase_on_request(void) {
  tidegate_policy_request_edit_error_t refused;
  uint32_t index;
  if (tidegate_policy_matching_match_path(closed, &index)) {
    plugin_tuple2_string_string_t type = {text("content-type"), text("text/plain; charset=utf-8")};
    plugin_list_tuple2_string_string_t headers = {&type, 1};
    plugin_string_t body = text("closed\n");
    bool stored = tidegate_policy_request_respond(403, &headers, &body, &refused);
    return stored ? TIDEGATE_POLICY_TYPES_VERDICT_RESPOND : TIDEGATE_POLICY_TYPES_VERDICT_FAIL;
  }
  plugin_string_t name = text("x-checked-by"), value = text("{{name}}");
  bool set = tidegate_policy_request_set_header(&name, &value, &refused);
  // `fail`: the operator's `on-error` decides.
  return set ? TIDEGATE_POLICY_TYPES_VERDICT_NEXT : TIDEGATE_POLICY_TYPES_VERDICT_FAIL;
}
