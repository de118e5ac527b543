//! The contract for TypeScript: every interface as a module, with the types that `componentize-qjs` gives values.

use std::fmt::Write as _;

use heck::{ToLowerCamelCase as _, ToUpperCamelCase as _};
use wit_parser::{Docs, Function, Interface, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

/// The text of `tidegate.d.ts`.
pub(crate) fn declarations(wit: &str) -> String {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", wit).expect("the contract is WIT");
    let mut text = "\
// The contract, made from wit/deps/tidegate/policy.wit by `tidegate plugin new`.
// An `option` is the value or null; an error is thrown. 64-bit numbers are exact up to 2^53.
"
    .to_owned();
    for interface in resolve.packages[package].interfaces.values() {
        module(&resolve, *interface, &mut text);
    }
    text
}

fn module(resolve: &Resolve, id: InterfaceId, text: &mut String) {
    let interface = &resolve.interfaces[id];
    text.push('\n');
    comment("", &interface.docs, text);
    put(text, format_args!("declare module \"{}\" {{\n", name_of(resolve, id)));
    for (from, names) in foreign(resolve, interface) {
        put(text, format_args!("  import type {{ {} }} from \"{from}\";\n", names.join(", ")));
    }
    for (name, id) in &interface.types {
        let is_foreign = matches!(resolve.types[*id].kind, TypeDefKind::Type(Type::Id(_)));
        if !is_foreign {
            definition(resolve, name, *id, text);
        }
    }
    for function in interface.functions.values() {
        signature(resolve, function, text);
    }
    text.push_str("}\n");
}

fn name_of(resolve: &Resolve, id: InterfaceId) -> String {
    resolve.id_of(id).expect("interfaces of the contract have names")
}

/// Types that an interface uses from others, by the name of the other.
fn foreign(resolve: &Resolve, interface: &Interface) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (name, id) in &interface.types {
        let TypeDefKind::Type(Type::Id(original)) = resolve.types[*id].kind else { continue };
        let TypeOwner::Interface(owner) = resolve.types[original].owner else { continue };
        let from = name_of(resolve, owner);
        match found.iter_mut().find(|(known, _)| *known == from) {
            Some((_, names)) => names.push(name.to_upper_camel_case()),
            None => found.push((from, vec![name.to_upper_camel_case()])),
        }
    }
    found
}

fn definition(resolve: &Resolve, name: &str, id: TypeId, text: &mut String) {
    let definition = &resolve.types[id];
    comment("  ", &definition.docs, text);
    let name = name.to_upper_camel_case();
    match &definition.kind {
        TypeDefKind::Record(record) => {
            put(text, format_args!("  export interface {name} {{\n"));
            for field in &record.fields {
                comment("    ", &field.docs, text);
                let (key, of) = (field.name.to_lower_camel_case(), type_of(resolve, &field.ty));
                put(text, format_args!("    {key}: {of};\n"));
            }
            text.push_str("  }\n");
        }
        TypeDefKind::Enum(cases) => {
            put(text, format_args!("  export type {name} =\n"));
            for case in &cases.cases {
                comment("    ", &case.docs, text);
                put(text, format_args!("    | \"{}\"\n", case.name));
            }
            end(text);
        }
        TypeDefKind::Variant(variant) => {
            put(text, format_args!("  export type {name} =\n"));
            for case in &variant.cases {
                comment("    ", &case.docs, text);
                let value = case.ty.as_ref().map(|ty| format!("; val: {}", type_of(resolve, ty)));
                let value = value.unwrap_or_default();
                put(text, format_args!("    | {{ tag: \"{}\"{value} }}\n", case.name));
            }
            end(text);
        }
        kind => put(text, format_args!("  export type {name} = {};\n", kind_of(resolve, kind))),
    }
}

fn signature(resolve: &Resolve, function: &Function, text: &mut String) {
    comment("  ", &function.docs, text);
    let parameters = function.params.iter();
    let parameters: Vec<_> = parameters
        .map(|one| format!("{}: {}", one.name.to_lower_camel_case(), type_of(resolve, &one.ty)))
        .collect();
    let name = function.name.to_lower_camel_case();
    let result = function.result.as_ref().map_or("void".to_owned(), |ty| returned(resolve, ty));
    put(text, format_args!("  export function {name}({}): {result};\n", parameters.join(", ")));
}

/// The type of a result: of what is returned, as an error is thrown.
fn returned(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => match &resolve.types[*id].kind {
            TypeDefKind::Result(result) => {
                result.ok.as_ref().map_or("void".to_owned(), |ok| type_of(resolve, ok))
            }
            _ => type_of(resolve, ty),
        },
        _ => type_of(resolve, ty),
    }
}

fn type_of(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "boolean".to_owned(),
        Type::String | Type::Char => "string".to_owned(),
        Type::Id(id) => match (&resolve.types[*id].name, &resolve.types[*id].kind) {
            (Some(name), _) => name.to_upper_camel_case(),
            (None, kind) => kind_of(resolve, kind),
        },
        _ => "number".to_owned(),
    }
}

fn kind_of(resolve: &Resolve, kind: &TypeDefKind) -> String {
    match kind {
        TypeDefKind::List(Type::U8) => "Uint8Array".to_owned(),
        TypeDefKind::List(of) => format!("Array<{}>", type_of(resolve, of)),
        TypeDefKind::Option(of) => format!("{} | null", type_of(resolve, of)),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<_> = tuple.types.iter().map(|ty| type_of(resolve, ty)).collect();
            format!("[{}]", types.join(", "))
        }
        // Within a list: what is thrown alone cannot be.
        TypeDefKind::Result(result) => {
            let value = |ty: &Option<Type>| {
                ty.as_ref().map_or(String::new(), |ty| format!("; val: {}", type_of(resolve, ty)))
            };
            format!("({{ tag: \"ok\"{} }} | {{ tag: \"err\"{} }})", value(&result.ok), value(&result.err))
        }
        TypeDefKind::Type(ty) => type_of(resolve, ty),
        kind => panic!("the contract has no {}", kind.as_str()),
    }
}

fn comment(indent: &str, docs: &Docs, text: &mut String) {
    let Some(contents) = &docs.contents else { return };
    let lines: Vec<_> = contents.trim().lines().map(|line| line.replace("*/", "*\u{200b}/")).collect();
    match lines.as_slice() {
        [one] => put(text, format_args!("{indent}/** {one} */\n")),
        several => {
            put(text, format_args!("{indent}/**\n"));
            for line in several {
                put(text, format_args!("{indent} * {line}\n"));
            }
            put(text, format_args!("{indent} */\n"));
        }
    }
}

/// Ends a list of cases.
fn end(text: &mut String) {
    text.truncate(text.trim_end().len());
    text.push_str(";\n");
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;

    #[test]
    fn every_interface_is_a_module_and_every_type_is_there() {
        let text = declarations(embedded::file("wit/policy.wit"));
        for line in [
            "declare module \"tidegate:policy/request@0.2.0\" {",
            "  import type { Fields, IpAddress, Version, EditError, RouteError, BodyMode } from \"tidegate:policy/types@0.2.0\";",
            "  export function queryParam(name: string): string | null;",
            "  export function headerValues(name: string): Array<Uint8Array>;",
            "  export function setHeader(name: string, value: string): void;",
            "  export type Matcher = number;",
            "  export function onRequest(): Verdict;",
            "    | { tag: \"ipv4\"; val: [number, number, number, number] }",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
