// Closes some paths and marks the requests that pass.
package main

import (
	"bytes"
	"encoding/json"

	"go.bytecodealliance.org/cm"

	"{{name}}/bindings/tidegate/policy/lifecycle"
	"{{name}}/bindings/tidegate/policy/matching"
	"{{name}}/bindings/tidegate/policy/request"
	requestphase "{{name}}/bindings/tidegate/policy/request-phase"
	"{{name}}/bindings/tidegate/policy/types"
)

// The schema of the `[config]` table of {{name}}.toml; operators read its descriptions.
const schema = `{"type":"object","additionalProperties":false,"required":["closed"],"properties":{
"closed":{"type":"array","items":{"type":"string"},"description":"Globs over the path. Who asks for one of these gets 403."} } }`

type configured = cm.Result[string, struct{}, string]

var closed matching.Matcher

func init() {
	lifecycle.Exports.Describe = func() cm.List[[2]string] {
		return cm.ToList([][2]string{
			{"name", "{{name}}"},
			{"version", "0.1.0"},
			{"description", "Closes some paths and marks the requests that pass"},
			{"config-schema", schema},
		})
	}
	// An error refuses the configuration; the key at fault stands before its first colon.
	lifecycle.Exports.Configure = func(text string) configured {
		var config struct {
			Closed *[]string `json:"closed"`
		}
		decoder := json.NewDecoder(bytes.NewBufferString(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&config); err != nil {
			return cm.Err[configured](err.Error())
		}
		if config.Closed == nil {
			return cm.Err[configured](`closed: write a list of globs, such as ["/internal/**"]`)
		}
		made := matching.PathPatterns(matching.PatternKindGlob, cm.ToList(*config.Closed), false)
		if made.IsErr() {
			return cm.Err[configured]("closed" + *made.Err()) // it begins with the index: `[1]: …`
		}
		closed = *made.OK()
		return cm.OK[configured](struct{}{})
	}
	requestphase.Exports.OnRequest = func() types.Verdict {
		if matching.MatchPath(closed).Some() != nil {
			kind := [2]string{"content-type", "text/plain; charset=utf-8"}
			headers := cm.ToList([][2]string{kind})
			if request.Respond(403, headers, "closed\n").IsErr() {
				return types.VerdictFail // the operator's `on-error` decides
			}
			return types.VerdictRespond
		}
		if request.SetHeader("x-checked-by", "{{name}}").IsErr() {
			return types.VerdictFail
		}
		return types.VerdictNext
	}
}

func main() {}
