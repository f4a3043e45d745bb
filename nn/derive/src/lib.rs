//! `#[derive(Module)]` for minitorch. Use it as `minitorch::Module`, beside the trait of that name.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Generics, Index, LitStr, Member, Meta, Result, Type, TypeParam, WherePredicate,
};
use syn::{parse_macro_input, parse_quote_spanned};

/// Implements `minitorch::module::Module` for a struct whose fields are modules.
///
/// The walk enters the fields in order, under their names, or their positions in a tuple struct: the `weight` of a
/// field `conv1` is `conv1.weight` in a checkpoint, as in PyTorch. Raw identifiers lose their `r#`.
///
/// ```
/// use minitorch::prelude::*;
/// use std::collections::HashMap;
///
/// #[derive(Module)]
/// struct Block<B: Backend, M> {
///     inner: M,                       // "inner...."; the implementation requires `M: Module<B>`
///     shortcut: Option<Linear<B>>,    // "shortcut.weight", if it is there
///     gain: f64,                      // plain numbers, text and flags are modules without parameters
///     #[module(skip)]
///     cache: HashMap<String, usize>,  // a field of any other type is skipped explicitly, or is an error here
/// }
/// ```
///
/// **Which backend.** A type parameter with a bound called `Backend` is the module's backend. Without one, the struct
/// is a module for every backend that all its fields are modules for: any, for plain data; one, if a field names it.
///
/// **Bounds.** Each other type parameter that a field mentions must be a `Module` of that backend.
///
/// **Errors.** A field whose type is not a module is an error at that type. Enums and unions are rejected: their fields
/// depend on the value. So are structs with two parameters bounded by `Backend`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    implementation(parse_macro_input!(input as DeriveInput)).unwrap_or_else(Error::into_compile_error).into()
}

/// A field that the walk enters.
struct Field {
    member: Member,
    /// Its part of the dotted name.
    name: String,
    ty: Type,
    /// The location of the type. Local names resolve as in `macro_rules`, so they cannot collide with the user's.
    span: Span,
}

fn implementation(input: DeriveInput) -> Result<TokenStream> {
    if let Some(attribute) = skip(&input.attrs)? {
        return Err(Error::new_spanned(attribute, "#[module(skip)] belongs on a field; leave the derive away instead"));
    }
    let fields = fields(input.data)?;
    let struct_name = &input.ident;
    let (_, used_generics, _) = input.generics.split_for_impl();
    let mut generics = input.generics.clone();
    let backend = match backend_parameter(&input.generics)? {
        Some(backend) => {
            let others = input.generics.type_params().map(|param| &param.ident).filter(|name| **name != backend);
            for name in others.filter(|name| fields.iter().any(|field| mentions(field.ty.to_token_stream(), name))) {
                let span = Span::mixed_site().located_at(name.span());
                let bound = parse_quote_spanned!(span=> #name: ::minitorch::module::Module<#backend>);
                generics.make_where_clause().predicates.push(bound);
            }
            backend
        }
        None => {
            let any = Ident::new("__B", Span::mixed_site());
            generics.params.push(parse_quote_spanned!(Span::mixed_site()=> #any: ::minitorch::Backend));
            // The bound of a type that contains this struct again would be circular.
            for Field { ty, span, .. } in fields.iter().filter(|f| !mentions(f.ty.to_token_stream(), struct_name)) {
                let bound = parse_quote_spanned!(*span=> #ty: ::minitorch::module::Module<#any>);
                generics.make_where_clause().predicates.push(bound);
            }
            any
        }
    };
    let backend_ref = &backend;
    // All tokens of a call have the span of the field's type: the compiler then reports an error at the type.
    let calls = |mutable: bool| {
        fields.iter().map(move |Field { member, name, span, .. }| {
            let (name, method) = (LitStr::new(name, *span), if mutable { "visit_mut" } else { "visit" });
            let method = Ident::new(method, *span);
            let mutable = mutable.then(|| quote_spanned!(*span=> mut));
            quote_spanned!(*span=>
                path.enter(#name, |path| {
                    ::minitorch::module::Module::<#backend_ref>::#method(& #mutable self.#member, path, f)
                });
            )
        })
    };
    let (visit, visit_mut) = (calls(false), calls(true));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    Ok(quote_spanned!(Span::mixed_site()=>
        #[automatically_derived]
        #[allow(unused_variables)] // a struct without fields uses neither path nor f
        impl #impl_generics ::minitorch::module::Module<#backend> for #struct_name #used_generics #where_clause {
            fn visit<'__m>(
                &'__m self,
                path: &mut ::minitorch::module::Path,
                f: ::minitorch::module::Visit<'_, '__m, #backend>,
            ) {
                path.module(self);
                #(#visit)*
            }
            fn visit_mut<'__m>(
                &'__m mut self,
                path: &mut ::minitorch::module::Path,
                f: ::minitorch::module::VisitMut<'_, '__m, #backend>,
            ) {
                #(#visit_mut)*
            }
        }
    ))
}

/// The fields in order, without those marked `#[module(skip)]`.
fn fields(data: Data) -> Result<Vec<Field>> {
    let why = "derive(Module) wants a struct: which fields an enum or union has depends on its value, so its parameters \
               would have no stable names; implement Module by hand";
    let data = match data {
        Data::Struct(data) => data,
        Data::Enum(data) => return Err(Error::new(data.enum_token.span, why)),
        Data::Union(data) => return Err(Error::new(data.union_token.span, why)),
    };
    let mut fields = Vec::new();
    for (position, field) in data.fields.into_iter().enumerate() {
        if skip(&field.attrs)?.is_some() {
            continue;
        }
        let at = field.ty.span();
        let name = field
            .ident
            .as_ref()
            .map_or(position.to_string(), |ident| ident.to_string().trim_start_matches("r#").to_string());
        let member = match field.ident {
            Some(mut ident) => {
                ident.set_span(ident.span().located_at(at));
                Member::Named(ident)
            }
            None => Member::Unnamed(Index { index: position as u32, span: at }),
        };
        fields.push(Field { member, name, ty: field.ty, span: Span::mixed_site().located_at(at) });
    }
    Ok(fields)
}

/// The attribute `#[module(skip)]`, if there is one.
fn skip(attributes: &[Attribute]) -> Result<Option<&Attribute>> {
    let mut skip = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("module")) {
        match &attribute.meta {
            Meta::List(list) if list.tokens.to_string() == "skip" => skip = Some(attribute),
            _ => return Err(Error::new_spanned(attribute, "the only attribute of derive(Module) is #[module(skip)]")),
        }
    }
    Ok(skip)
}

/// The type parameter with a bound called `Backend`, in its declaration or in the where clause.
fn backend_parameter(generics: &Generics) -> Result<Option<Ident>> {
    let is_backend = |bound: &syn::TypeParamBound| match bound {
        syn::TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|last| last.ident == "Backend"),
        _ => false,
    };
    let in_where = |name: &Ident| {
        let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
        predicates.into_iter().any(|predicate| match predicate {
            WherePredicate::Type(predicate) => {
                let subject = matches!(&predicate.bounded_ty, Type::Path(ty) if ty.path.is_ident(name));
                subject && predicate.bounds.iter().any(is_backend)
            }
            _ => false,
        })
    };
    let bounded = |param: &&TypeParam| param.bounds.iter().any(is_backend) || in_where(&param.ident);
    let mut found = generics.type_params().filter(bounded).map(|param| &param.ident);
    match (found.next(), found.next()) {
        (first, None) => Ok(first.cloned()),
        (_, Some(second)) => Err(Error::new(
            second.span(),
            "derive(Module) cannot tell which of two Backend parameters the module is for; implement it by hand",
        )),
    }
}

/// Whether tokens contain an identifier.
fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Ident(ident) => ident == *name,
        _ => false,
    })
}
