//! A struct definition taken apart token by token.
//!
//! A derive sees code that the compiler has already parsed, so what comes in is well formed: it is enough to find the
//! pieces, at commas and angle brackets, and their meaning can stay tokens. That is why `syn` is not needed.

use proc_macro::{Delimiter, Group, Ident, Literal, Span, TokenStream, TokenTree};
use std::iter::Peekable;
use std::vec::IntoIter;

/// What is wrong, and where.
pub(crate) struct Wrong {
    pub(crate) why: String,
    pub(crate) at: Span,
}

pub(crate) type Result<T> = std::result::Result<T, Wrong>;

/// One generic parameter, without its default: an `impl` has none.
pub(crate) struct Generic {
    /// As it is declared: `B: Backend`, `const N: usize`, `'a`.
    pub(crate) declared: TokenStream,
    /// As it is used: `B`, `N`, `'a`.
    pub(crate) used: TokenStream,
    /// The name, if the parameter is a type.
    pub(crate) type_name: Option<Ident>,
    /// Whether a bound in the declaration is a trait called `Backend`.
    pub(crate) is_backend: bool,
}

/// One field that is walked.
pub(crate) struct Field {
    /// What follows `self.`: an identifier or a position.
    pub(crate) access: TokenStream,
    /// Its part of the dotted name.
    pub(crate) name: String,
    pub(crate) ty: TokenStream,
    /// Where the type stands, for errors.
    pub(crate) at: Span,
}

pub(crate) struct Struct {
    pub(crate) name: Ident,
    pub(crate) generics: Vec<Generic>,
    /// The predicates of the where clause.
    pub(crate) predicates: Vec<TokenStream>,
    /// The fields in order, without those marked `#[module(skip)]`.
    pub(crate) fields: Vec<Field>,
}

type Tokens = Peekable<IntoIter<TokenTree>>;

fn tokens(stream: TokenStream) -> Tokens {
    stream.into_iter().collect::<Vec<_>>().into_iter().peekable()
}

pub(crate) fn parse(input: TokenStream) -> Result<Struct> {
    let mut rest = tokens(input);
    if let Some(at) = attributes(&mut rest)? {
        return Err(Wrong { why: "#[module(skip)] belongs on a field; leave the derive away instead".into(), at });
    }
    visibility(&mut rest);
    let kind = identifier(&mut rest)?;
    if kind.to_string() != "struct" {
        let why = "derive(Module) wants a struct: which fields an enum or union has depends on its value, so its \
                   parameters would have no stable names; implement Module by hand";
        return Err(Wrong { why: why.into(), at: kind.span() });
    }
    let name = identifier(&mut rest)?;
    let generics = if is(rest.peek(), '<') { generics(&mut rest)? } else { Vec::new() };

    // `(fields) where ..;` or `where .. { fields }` or `where ..;`: no other brace closes a definition.
    let mut body = rest.next_if(|token| group(token, Delimiter::Parenthesis).is_some());
    let mut predicates: Vec<TokenTree> = rest.collect();
    if is(predicates.last(), ';') {
        predicates.pop();
    }
    if body.is_none() && predicates.last().is_some_and(|token| group(token, Delimiter::Brace).is_some()) {
        body = predicates.pop();
    }
    if predicates.first().is_some_and(|token| word(token, "where")) {
        predicates.remove(0);
    }
    let fields = match &body {
        Some(TokenTree::Group(body)) => fields(body)?,
        _ => Vec::new(),
    };
    let predicates = split(predicates.into_iter(), ',').into_iter().map(TokenStream::from_iter).collect();
    Ok(Struct { name, generics, predicates, fields })
}

/// Takes `<..>`.
fn generics(rest: &mut Tokens) -> Result<Vec<Generic>> {
    let (mut depth, mut inside, mut previous) = (0, Vec::new(), ' ');
    for token in rest.by_ref() {
        let step = nesting(&token, &mut previous);
        depth += step;
        match (depth, step) {
            (0, _) => break,
            (1, 1) => {} // the opening bracket itself
            _ => inside.push(token),
        }
    }
    split(inside.into_iter(), ',').into_iter().map(generic).collect()
}

fn generic(tokens: Vec<TokenTree>) -> Result<Generic> {
    let mut rest = tokens.into_iter().peekable();
    attributes(&mut rest)?;
    // The default begins at an `=` outside of `<..>`: `T: Iterator<Item = f32> = Empty`.
    let mut declared = split(rest, '=').into_iter().next().unwrap_or_default();
    let mut used = declared.clone();
    let mut type_name = None;
    match declared.first() {
        Some(token) if is(Some(token), '\'') => used.truncate(2),
        Some(token) if word(token, "const") => used = used.into_iter().skip(1).take(1).collect(),
        Some(TokenTree::Ident(name)) => {
            type_name = Some(name.clone());
            used.truncate(1);
        }
        other => {
            let at = other.map_or_else(Span::call_site, TokenTree::span);
            return Err(Wrong { why: "derive(Module) does not understand this parameter".into(), at });
        }
    }
    let is_backend = type_name.is_some() && bounded_by_backend(declared.iter().skip(2).cloned());
    if is(declared.last(), ':') {
        declared.pop(); // `T:` is legal, and in the way of a further bound
    }
    Ok(Generic { declared: declared.into_iter().collect(), used: used.into_iter().collect(), type_name, is_backend })
}

/// Whether one of the bounds `A + path::Backend + C<D>` is a trait called `Backend`.
pub(crate) fn bounded_by_backend(bounds: impl Iterator<Item = TokenTree>) -> bool {
    split(bounds, '+').iter().any(|bound| {
        let path = bound.iter().take_while(|token| !is(Some(token), '<'));
        path.last().is_some_and(|token| word(token, "Backend"))
    })
}

fn fields(body: &Group) -> Result<Vec<Field>> {
    let named = body.delimiter() == Delimiter::Brace;
    let mut fields = Vec::new();
    for (position, tokens) in split(body.stream().into_iter(), ',').into_iter().enumerate() {
        let mut rest = tokens.into_iter().peekable();
        if attributes(&mut rest)?.is_some() {
            continue;
        }
        visibility(&mut rest);
        let (mut access, name) = if named {
            let field = identifier(&mut rest)?;
            rest.next(); // the colon
            let name = field.to_string().trim_start_matches("r#").to_string();
            (TokenTree::from(field), name)
        } else {
            (TokenTree::from(Literal::usize_unsuffixed(position)), position.to_string())
        };
        let at = rest.peek().map_or_else(Span::call_site, TokenTree::span);
        access.set_span(access.span().located_at(at));
        fields.push(Field { access: access.into(), name, ty: rest.collect(), at });
    }
    Ok(fields)
}

/// Takes the attributes; where `#[module(skip)]` is, if it is one of them.
fn attributes(rest: &mut Tokens) -> Result<Option<Span>> {
    let mut skip = None;
    while rest.next_if(|token| is(Some(token), '#')).is_some() {
        let Some(TokenTree::Group(attribute)) = rest.next() else { continue };
        let mut inside = tokens(attribute.stream());
        if inside.next_if(|token| word(token, "module")).is_none() {
            continue;
        }
        let arguments = match inside.next() {
            Some(TokenTree::Group(arguments)) => arguments.stream().to_string(),
            _ => String::new(),
        };
        if arguments.trim() != "skip" {
            let why = "the only attribute of derive(Module) is #[module(skip)]".into();
            return Err(Wrong { why, at: attribute.span() });
        }
        skip = Some(attribute.span());
    }
    Ok(skip)
}

/// Takes `pub` or `pub(..)`. A tuple field `pub (A, B)` is the same tokens: the compiler, too, looks inside.
fn visibility(rest: &mut Tokens) {
    if rest.next_if(|token| word(token, "pub")).is_none() {
        return;
    }
    rest.next_if(|token| {
        group(token, Delimiter::Parenthesis).is_some_and(|inside| {
            let first = inside.stream().into_iter().next();
            first.is_some_and(|t| ["crate", "self", "super", "in"].iter().any(|place| word(&t, place)))
        })
    });
}

fn identifier(rest: &mut Tokens) -> Result<Ident> {
    match rest.next() {
        Some(TokenTree::Ident(name)) => Ok(name),
        other => {
            let at = other.map_or_else(Span::call_site, |token| token.span());
            Err(Wrong { why: "derive(Module) expected a name here".into(), at })
        }
    }
}

/// Splits at a separator outside of `<..>`; empty pieces (a trailing comma) are dropped.
fn split(tokens: impl Iterator<Item = TokenTree>, separator: char) -> Vec<Vec<TokenTree>> {
    let (mut pieces, mut depth, mut previous) = (vec![Vec::new()], 0, ' ');
    for token in tokens {
        depth += nesting(&token, &mut previous);
        match pieces.last_mut() {
            Some(piece) if depth != 0 || !is(Some(&token), separator) => piece.push(token),
            _ => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// How much deeper in `<..>` we are after a token. The `>` of `->` does not count; `previous` remembers the `-`.
fn nesting(token: &TokenTree, previous: &mut char) -> i32 {
    let now = if let TokenTree::Punct(p) = token { p.as_char() } else { ' ' };
    let step = match (*previous, now) {
        (_, '<') => 1,
        ('-', '>') => 0,
        (_, '>') => -1,
        _ => 0,
    };
    *previous = now;
    step
}

fn is(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

fn word(token: &TokenTree, text: &str) -> bool {
    matches!(token, TokenTree::Ident(name) if name.to_string() == text)
}

fn group(token: &TokenTree, delimiter: Delimiter) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}
