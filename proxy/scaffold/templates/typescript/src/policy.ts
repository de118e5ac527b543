// Closes some paths and marks the requests that pass.

import { type Matcher, pathPatterns, matchPath } from "tidegate:policy/matching@0.2.0";
import { respond, setHeader } from "tidegate:policy/request@0.2.0";
import type * as Lifecycle from "tidegate:policy/lifecycle@0.2.0";
import type * as RequestPhase from "tidegate:policy/request-phase@0.2.0";

// The `[config]` table of {{name}}.toml; operators read these descriptions.
const schema = {
  type: "object",
  additionalProperties: false,
  required: ["closed"],
  properties: {
    closed: {
      type: "array",
      items: { type: "string" },
      description: "Globs over the path. Who asks for one of these gets 403.",
    },
  },
};

let closed: Matcher;

export const lifecycle: typeof Lifecycle = {
  describe() {
    return [
      ["name", "{{name}}"],
      ["version", "0.1.0"],
      ["description", "Closes some paths and marks the requests that pass"],
      ["config-schema", JSON.stringify(schema)],
    ];
  },

  // A text that is thrown refuses the configuration; the key at fault stands before the first colon.
  configure(text) {
    const config: Record<string, unknown> = JSON.parse(text);
    for (const key of Object.keys(config)) {
      if (!(key in schema.properties)) throw `${key}: there is no such key; write "closed"`;
    }
    const globs = config["closed"];
    if (!Array.isArray(globs) || !globs.every((glob) => typeof glob === "string")) {
      throw `closed: write a list of globs, such as ["/internal/**"]`;
    }
    try {
      closed = pathPatterns("glob", globs, false);
    } catch (error) {
      throw `closed${(error as Error).message}`; // it begins with the index: `[1]: …`
    }
  },
};

export const requestPhase: typeof RequestPhase = {
  onRequest() {
    if (matchPath(closed) !== null) {
      respond(403, [["content-type", "text/plain; charset=utf-8"]], "closed\n");
      return "respond";
    }
    setHeader("x-checked-by", "{{name}}");
    return "next";
  },
};
