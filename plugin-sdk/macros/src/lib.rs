//! The `#[policy]` attribute of `tidegate-plugin-sdk`.

use proc_macro::TokenStream;
use proc_macro2::{Ident, Span, TokenStream as Tokens};
use quote::quote;
use syn::{Error, ImplItem, ItemImpl, Result, parse_macro_input};

/// Makes a crate a plugin: put it on its one `impl Policy for …`.
///
/// The block stays as it is. On WebAssembly targets the crate also exports `lifecycle` and one
/// interface for each phase method *written in the block*, so the proxy never calls a phase that
/// would only run a default. On other targets nothing is exported, so `cargo test` works.
///
/// The plugin describes itself with the `name`, `version` and `description` of its `Cargo.toml`.
///
/// # Errors
///
/// Compile errors: arguments; anything but an `impl` of a trait for a type; generic parameters
/// (the host needs one concrete type); an `impl` without phase, or with one for a body that no other phase
/// asks for: it would never be called.
#[proc_macro_attribute]
pub fn policy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    match exports(&arguments.into(), &block) {
        Ok(exports) => quote!(#block #exports),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#block #error)
        }
    }
    .into()
}

/// Phase methods of `Policy` and the macros that export them.
const PHASES: [(&str, &str); 8] = [
    ("on_request", "export_request"),
    ("on_request_body", "export_request_body"),
    ("on_request_chunk", "export_request_chunk"),
    ("on_response", "export_response"),
    ("on_response_body", "export_response_body"),
    ("on_response_chunk", "export_response_chunk"),
    ("on_log", "export_log"),
    ("on_timer", "export_timer"),
];

/// Phases that see a body only after another one asked for it.
const ASKED_FOR: [(&str, &str); 4] = [
    ("on_request_body", "on_request"),
    ("on_request_chunk", "on_request"),
    ("on_response_body", "on_response"),
    ("on_response_chunk", "on_response"),
];

fn exports(arguments: &Tokens, block: &ItemImpl) -> Result<Tokens> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[policy] takes no arguments"));
    }
    if block.trait_.is_none() {
        return Err(Error::new_spanned(&block.self_ty, "#[policy] belongs on `impl Policy for …`"));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(&block.generics, "a policy cannot be generic"));
    }
    let methods: Vec<String> = block
        .items
        .iter()
        .filter_map(|item| match item {
            ImplItem::Fn(function) => Some(function.sig.ident.to_string()),
            _ => None,
        })
        .collect();
    let has = |method: &str| methods.iter().any(|present| present == method);
    if let Some((body, head)) = ASKED_FOR.iter().find(|(body, head)| has(body) && !has(head)) {
        let message =
            format!("{body} is never called without {head}, which asks for the body with set_body_mode");
        return Err(Error::new_spanned(&block.self_ty, message));
    }
    let phases: Vec<Ident> = PHASES
        .iter()
        .filter(|(method, _)| has(method))
        .map(|(_, export)| Ident::new(export, Span::call_site()))
        .collect();
    if phases.is_empty() {
        return Err(Error::new_spanned(
            &block.self_ty,
            "a policy needs a phase: on_request, on_response, on_log or on_timer",
        ));
    }

    let policy = &block.self_ty;
    Ok(quote! {
        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::OnceCell<#policy> = const { ::std::cell::OnceCell::new() };
            }

            impl ::tidegate_plugin_sdk::export::Exported for #policy {
                const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
                const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
                const DESCRIPTION: &'static str = ::core::env!("CARGO_PKG_DESCRIPTION");

                fn instance() -> &'static ::std::thread::LocalKey<::std::cell::OnceCell<Self>> {
                    &INSTANCE
                }
            }

            type Export = ::tidegate_plugin_sdk::export::Export<#policy>;
            ::tidegate_plugin_sdk::bindings::lifecycle::export_lifecycle!(Export);
            #(::tidegate_plugin_sdk::bindings::phases::#phases!(Export);)*
        };

        // Elsewhere only tests call the policy; without this the compiler would take it for dead code.
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            let _ = <#policy as ::tidegate_plugin_sdk::Policy>::configure;
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(arguments: Tokens, block: Tokens) -> std::result::Result<String, String> {
        let block = syn::parse2(block).expect("the block is an impl");
        exports(&arguments, &block).map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_phases_in_the_block_are_exported() {
        let expanded = expand(
            quote!(),
            quote! { impl Policy for P { fn on_log(&self) {} fn configure() {} fn on_request(&self) {} } },
        )
        .expect("a policy");
        assert!(expanded.contains("export_lifecycle"), "{expanded}");
        assert!(expanded.contains("export_request"), "{expanded}");
        assert!(expanded.contains("export_log"), "{expanded}");
        assert!(!expanded.contains("export_response"), "{expanded}");
    }

    #[test]
    fn what_cannot_be_exported_is_a_compile_error() {
        let phase = quote! { fn on_request(&self) {} };
        for (arguments, block, message) in [
            (quote!(x), quote! { impl Policy for P { #phase } }, "takes no arguments"),
            (quote!(), quote! { impl P { #phase } }, "belongs on"),
            (quote!(), quote! { impl<T> Policy for P<T> { #phase } }, "cannot be generic"),
            (quote!(), quote! { impl Policy for P { fn configure() {} } }, "needs a phase"),
            (
                quote!(),
                quote! { impl Policy for P { #phase fn on_response_body() {} } },
                "without on_response,",
            ),
        ] {
            let error = expand(arguments, block).expect_err(message);
            assert!(error.contains(message), "{error}");
        }
    }
}
