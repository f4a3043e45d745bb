//! Translates a preprocessed kernel file to C++: collects the kernels, and replaces declarations of shared memory. For build.rs.
//!
//! The preprocessor has run, so kernels and declarations from macros are found too. Line numbers are preserved: a replacement has
//! as many line breaks as the original.

/// A kernel's name and the place of its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) place: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Word,
    Text,
    Mark,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
    file: &'a str,
    line: i64,
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// The kind of a scope in braces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespace,
    C,
    Other,
}

/// The C++ source and its kernels; or an error that says what is not supported, and where.
pub(crate) fn rewrite(source: &str) -> Result<(String, Vec<Kernel>), String> {
    let tokens = tokens(source);
    let (mut out, mut copied) = (String::new(), 0);
    let mut kernels: Vec<Kernel> = Vec::new();
    let mut scopes = Vec::new();
    let mut replace = |from: usize, to: usize, by: &str| {
        out.push_str(&source[copied..from]);
        out.push_str(by);
        out.extend(source[from..to].chars().filter(|&c| c == '\n'));
        copied = to;
    };
    let mut i = 0;
    while i < tokens.len() {
        let token = &tokens[i];
        match (token.kind, token.text) {
            (Kind::Mark, "{") => scopes.push(scope(&tokens[..i])),
            (Kind::Mark, "}") => drop(scopes.pop()),
            (Kind::Word, "__global__") => {
                let declared = tokens[..i].ends_with_texts(&["extern", "\"C\""]);
                let kernel = kernel(&tokens[i..])?;
                if !declared && !scopes.contains(&Scope::C) {
                    return Err(format!("{}: a kernel is declared `extern \"C\" __global__ void ...`", token.place()));
                }
                replace(if declared { tokens[i - 2].start } else { token.start }, token.end(), "static");
                if let Some(kernel) = kernel {
                    if let Some(other) = kernels.iter().find(|k| k.name == kernel.name) {
                        return Err(twice(other, &kernel));
                    }
                    kernels.push(kernel);
                }
            }
            (Kind::Word, "__shared__") => {
                if !scopes.contains(&Scope::Other) {
                    return Err(format!("{}: shared memory is declared inside a function", token.place()));
                }
                let first = i - usize::from(tokens[..i].ends_with_texts(&["static"]));
                if first > 0 && ![";", "{", "}", ")"].contains(&tokens[first - 1].text) {
                    return Err(format!("{}: __shared__ comes first in its declaration", token.place()));
                }
                let length = tokens[i..].iter().position(|t| t.text == ";").ok_or("a declaration without an end")?;
                let text = shared(source, &tokens[i..=i + length])?;
                replace(tokens[first].start, tokens[i + length].end(), &text);
                i += length;
            }
            _ => {}
        }
        i += 1;
    }
    replace(source.len(), source.len(), "");
    Ok((out, kernels))
}

/// The error for two kernels with one name.
pub(crate) fn twice(first: &Kernel, second: &Kernel) -> String {
    format!("{}: kernel `{}` is already defined at {}", second.place, second.name, first.place)
}

trait Texts {
    fn ends_with_texts(&self, texts: &[&str]) -> bool;
}

impl Texts for [Token<'_>] {
    fn ends_with_texts(&self, texts: &[&str]) -> bool {
        self.len() >= texts.len() && self[self.len() - texts.len()..].iter().zip(texts).all(|(t, &text)| t.text == text)
    }
}

/// Tokenizes source: words, literals and single characters, each with its file and line.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    let (mut tokens, mut file, mut line, mut at_start) = (Vec::new(), "", 1, true);
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        let kind = match bytes[i] {
            b'\n' => {
                (line, at_start, i) = (line + 1, true, i + 1);
                continue;
            }
            b if b.is_ascii_whitespace() => {
                i += 1;
                continue;
            }
            b'#' if at_start => {
                i += source[i..].find('\n').unwrap_or(source.len() - i);
                if let Some((next, name)) = line_marker(&source[start..i]) {
                    // The marker gives the number of the next line, and the line break follows.
                    (line, file) = (next - 1, name);
                }
                continue;
            }
            quote @ (b'"' | b'\'') => {
                i += 1;
                while i < bytes.len() && bytes[i] != quote {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i = (i + 1).min(bytes.len());
                Kind::Text
            }
            b if is_word(b) => {
                // A digit separator, as in 1'000, is part of the word.
                while i < bytes.len() && (is_word(bytes[i]) || (b.is_ascii_digit() && bytes[i] == b'\'')) {
                    i += 1;
                }
                Kind::Word
            }
            _ => {
                i += 1;
                Kind::Mark
            }
        };
        at_start = false;
        tokens.push(Token { kind, text: &source[start..i], start, file, line });
    }
    tokens
}

/// The line and the file of `# 12 "kernels/unary.cu" 2` or `#line 12 "kernels/unary.cu"`.
fn line_marker(directive: &str) -> Option<(i64, &str)> {
    let rest = directive.strip_prefix("#line").or(directive.strip_prefix('#'))?;
    let (number, rest) = rest.trim_start().split_once(' ')?;
    let file = rest.trim_start().strip_prefix('"')?;
    Some((number.parse().ok()?, &file[..file.find('"')?]))
}

/// The scope that a brace after these tokens opens.
fn scope(before: &[Token<'_>]) -> Scope {
    let texts: Vec<&str> = before.iter().rev().take(2).map(|t| t.text).collect();
    match texts[..] {
        ["\"C\"", "extern", ..] => Scope::C,
        ["namespace", ..] | [_, "namespace"] => Scope::Namespace,
        _ => Scope::Other,
    }
}

/// The index of the bracket that matches the one at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match (token.kind, token.text) {
            (Kind::Mark, "(" | "[") => depth += 1,
            (Kind::Mark, ")" | "]") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// The kernel of the leading `__global__`; `None` for a declaration without a body.
fn kernel(tokens: &[Token<'_>]) -> Result<Option<Kernel>, String> {
    let place = tokens[0].place();
    let malformed = || format!("{place}: not a kernel: `__global__` without a function");
    let mut i = 1;
    loop {
        let open = i + tokens[i..].iter().position(|t| t.text == "(").ok_or_else(malformed)?;
        let close = closing(tokens, open).ok_or_else(malformed)?;
        let name = &tokens[open - 1];
        if name.text == "__attribute__" {
            i = close + 1;
            continue;
        }
        if name.kind != Kind::Word {
            return Err(malformed());
        }
        return match tokens.get(close + 1).map(|t| t.text) {
            Some("{") => Ok(Some(Kernel { name: name.text.into(), place: name.place() })),
            Some(";") => Ok(None),
            _ => Err(malformed()),
        };
    }
}

/// The C++ for `__shared__ T name[N];`, from its first word to its semicolon.
fn shared(source: &str, tokens: &[Token<'_>]) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("{}: {what}; write `__shared__ T name[N];`", tokens[0].place()));
    let mut alignment = "16";
    let mut i = 1;
    while let Some(word @ ("alignas" | "__attribute__")) = tokens.get(i).map(|t| t.text) {
        let Some(close) = closing(tokens, i + 1) else { return wrong("an alignment without an end") };
        // alignas ( 16 ) and __attribute__ ( ( aligned ( 16 ) ) )
        let (skip, keep) = if word == "alignas" { (2, 0) } else { (5, 2) };
        alignment = match tokens.get(i + skip) {
            Some(first) if i + skip < close - keep && (keep == 0 || tokens[i + 3].text == "aligned") => {
                &source[first.start..tokens[close - keep].start]
            }
            _ => return wrong("an attribute that is no alignment"),
        };
        i = close + 1;
    }
    let (first, mut angles) = (i, 0);
    let bounds = loop {
        match tokens[i].text {
            "<" => angles += 1,
            ">" => angles -= 1,
            "(" => i = closing(tokens, i).unwrap_or(i),
            "[" | ";" if angles == 0 => break i,
            "," | "=" | "{" if angles == 0 => return wrong("one shared variable per declaration, without a value"),
            _ => {}
        }
        i += 1;
        if i == tokens.len() {
            return wrong("a shared declaration that is not understood");
        }
    };
    if bounds < first + 2 || tokens[bounds - 1].kind != Kind::Word {
        return wrong("a shared declaration without a type and a name");
    }
    let last = tokens.len() - 1;
    let mut end = bounds;
    while tokens[end].text == "[" {
        match closing(tokens, end) {
            Some(close) => end = close + 1,
            None => return wrong("a bracket without an end"),
        }
    }
    if end != last {
        return wrong("one shared variable per declaration, without a value");
    }
    let name = tokens[bounds - 1].text;
    let flat = |from: usize, to: usize| source[from..to].split_whitespace().collect::<Vec<_>>().join(" ");
    let element = flat(tokens[first].start, tokens[bounds - 1].start);
    let size = flat(tokens[bounds].start, tokens[last].start);
    if size == "[]" {
        return wrong("a shared array without a length");
    }
    // The address of the static variable is the key: every instance of a template has its own.
    Ok(format!(
        "static char emulated_key_{name}; using emulated_type_{name} = {element}{size}; \
         emulated_type_{name}& {name} = *static_cast<emulated_type_{name}*>(::emulator::shared(\
         &emulated_key_{name}, \"{name}\", sizeof(emulated_type_{name}), {alignment}));"
    ))
}
