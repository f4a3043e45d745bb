//! `#[derive(Module)]` for minitorch. Use it as `minitorch::Module`, beside the trait of that name.
//!
//! `parse` takes the struct apart, this file puts the implementation together. Both work on tokens, without `syn`: a
//! build of minitorch need not wait for it. User tokens are never printed and parsed again, so they keep their spans,
//! and every error the compiler finds in a field's type points at that type.

mod parse;

use parse::{Field, Struct, Wrong};
use proc_macro::{Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// Implements `minitorch::module::Module` for a struct whose fields are modules.
///
/// The walk names the struct's type, then enters the fields in their order under their names, tuple fields under their positions: a `conv1` that holds
/// a `weight` is `conv1.weight` in a checkpoint, as in PyTorch. Raw identifiers lose their `r#`.
///
/// ```
/// use minitorch::prelude::*;
/// use std::collections::HashMap;
///
/// #[derive(Module)]
/// struct Block<B: Backend, M> {
///     inner: M,                       // "inner...."; the implementation asks for `M: Module<B>`
///     shortcut: Option<Linear<B>>,    // "shortcut.weight", if it is there
///     gain: f64,                      // plain numbers, text and flags are modules without parameters
///     #[module(skip)]
///     cache: HashMap<String, usize>,  // anything else is skipped in so many words, or is an error here
/// }
/// ```
///
/// **Which backend.** A type parameter with a bound called `Backend` is the module's backend. Without one, the struct is
/// a module for every backend that all its fields are modules for: any, for plain data; one, if a field names it.
///
/// **Bounds.** Each other type parameter that a walked field mentions must be a `Module` of that backend.
///
/// **Errors.** A field whose type is no module is an error at that type. Enums and unions are refused: what their fields
/// are depends on the value. So are two parameters bounded by `Backend`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    parse::parse(input).and_then(implementation).unwrap_or_else(|Wrong { why, at }| {
        let mut why = Literal::string(&why);
        why.set_span(at);
        template(at, "::core::compile_error! { __WHY }", &[("__WHY", one(why))])
    })
}

fn implementation(input: Struct) -> parse::Result<TokenStream> {
    let backend = backend(&input)?;
    let mut params: Vec<TokenStream> = input.generics.iter().map(|g| g.declared.clone()).collect();
    let mut predicates = input.predicates;
    let walked = |name: &Ident| input.fields.iter().any(|field| mentions(&field.ty, name));
    let is_module = |ty: TokenStream, at: Span, backend: &TokenStream| {
        let slots = [("__TYPE", ty), ("__BACKEND", backend.clone())];
        template(at, "__TYPE: ::minitorch::module::Module<__BACKEND>", &slots)
    };

    let backend: TokenStream = match backend {
        Some(name) => {
            let backend = one(name.clone());
            let others = input.generics.iter().filter_map(|g| g.type_name.as_ref());
            for ty in others.filter(|ty| ty.to_string() != name.to_string() && walked(ty)) {
                predicates.push(is_module(one(ty.clone()), ty.span(), &backend));
            }
            backend
        }
        None => {
            let any = one(Ident::new("__B", Span::mixed_site()));
            params.push(template(Span::call_site(), "__B: ::minitorch::Backend", &[]));
            // A type that holds this struct again would ask for the implementation that is being made.
            for field in input.fields.iter().filter(|field| !mentions(&field.ty, &input.name)) {
                predicates.push(is_module(field.ty.clone(), field.at, &any));
            }
            any
        }
    };

    let walk = |method: &str, borrow: &str| -> TokenStream {
        input.fields.iter().map(|field| enter(field, method, borrow, &backend)).collect()
    };
    Ok(template(
        Span::call_site(),
        "#[automatically_derived]
        #[allow(unused_variables)] // a struct without fields walks nowhere
        impl<__PARAMS> ::minitorch::module::Module<__BACKEND> for __NAME<__USED> where __PREDICATES {
            fn visit<'__m>(
                &'__m self,
                path: &mut ::minitorch::module::Path,
                f: ::minitorch::module::Visit<'_, '__m, __BACKEND>,
            ) {
                f(
                    path.as_str(),
                    ::minitorch::module::Entry::Module {
                        kind: __KIND,
                        address: ::core::ptr::from_ref(self).addr(),
                    },
                );
                __VISIT
            }
            fn visit_mut<'__m>(
                &'__m mut self,
                path: &mut ::minitorch::module::Path,
                f: ::minitorch::module::VisitMut<'_, '__m, __BACKEND>,
            ) { __VISIT_MUT }
        }",
        &[
            ("__PARAMS", list(params)),
            ("__NAME", one(input.name.clone())),
            ("__KIND", one(Literal::string(input.name.to_string().trim_start_matches("r#")))),
            ("__USED", list(input.generics.iter().map(|g| g.used.clone()))),
            ("__PREDICATES", list(predicates)),
            ("__VISIT", walk("visit", "&")),
            ("__VISIT_MUT", walk("visit_mut", "&mut")),
            ("__BACKEND", backend.clone()),
        ],
    ))
}

/// The parameter bounded by `Backend`, in its declaration or in the where clause.
fn backend(input: &Struct) -> parse::Result<Option<Ident>> {
    let in_where = |name: &Ident| {
        input.predicates.iter().any(|predicate| {
            let mut tokens = predicate.clone().into_iter();
            let subject = tokens.next().is_some_and(|t| t.to_string() == name.to_string());
            let colon = tokens.next().is_some_and(|t| t.to_string() == ":");
            subject && colon && parse::bounded_by_backend(tokens)
        })
    };
    let mut found = input
        .generics
        .iter()
        .filter_map(|g| g.type_name.as_ref().map(|name| (name, g.is_backend)))
        .filter_map(|(name, inline)| (inline || in_where(name)).then_some(name));
    let (first, second) = (found.next(), found.next());
    match second {
        None => Ok(first.cloned()),
        Some(name) => {
            let why =
                "derive(Module) cannot tell which of two Backend parameters the module is for; implement it by hand";
            Err(Wrong { why: why.into(), at: name.span() })
        }
    }
}

/// The walk into one field, located at its type: that is where rustc reports a type that is no module.
fn enter(field: &Field, method: &str, borrow: &str, backend: &TokenStream) -> TokenStream {
    let code = format!(
        "path.enter(__PART, |path| ::minitorch::module::Module::<__BACKEND>::{method}({borrow} self.__FIELD, path, f));"
    );
    let slots = [
        ("__PART", one(Literal::string(&field.name))),
        ("__FIELD", field.access.clone()),
        ("__BACKEND", backend.clone()),
    ];
    template(field.at, &code, &slots)
}

/// Whether a type names an identifier.
fn mentions(ty: &TokenStream, name: &Ident) -> bool {
    ty.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(&group.stream(), name),
        token => token.to_string() == name.to_string(),
    })
}

fn one(token: impl Into<TokenTree>) -> TokenStream {
    token.into().into()
}

/// `a, b, c,`
fn list(items: impl IntoIterator<Item = TokenStream>) -> TokenStream {
    let comma = || one(Punct::new(',', Spacing::Alone));
    items.into_iter().flat_map(|item| [item, comma()]).collect()
}

/// Parses `code` and puts token streams in the place of identifiers. The code's own tokens are located at `at` and
/// resolve as in `macro_rules`: their local names cannot meet the user's.
fn template(at: Span, code: &str, slots: &[(&str, TokenStream)]) -> TokenStream {
    fn fill(code: TokenStream, span: Span, slots: &[(&str, TokenStream)]) -> TokenStream {
        let fill_one = |token| match token {
            TokenTree::Group(group) => {
                let mut filled = Group::new(group.delimiter(), fill(group.stream(), span, slots));
                filled.set_span(span);
                one(filled)
            }
            mut token => {
                let text = token.to_string();
                if let Some((_, tokens)) = slots.iter().find(|(slot, _)| text == *slot) {
                    return tokens.clone();
                }
                token.set_span(span);
                one(token)
            }
        };
        code.into_iter().map(fill_one).collect()
    }
    let code = code.parse().expect("the derive's templates are valid Rust");
    fill(code, Span::mixed_site().located_at(at), slots)
}
