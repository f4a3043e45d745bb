//! Files of a crate must not import each other in a circle.
//!
//! ```text
//! modules = the tree of `mod` declarations, with the names that each module defines, imports and re-exports
//! edge    = file A mentions a name that resolves, through re-exports, to a definition in file B
//! circle  = a strongly connected component of more than one file
//! ```
//!
//! Names are resolved by paths alone, so methods and trait implementations have no edge. A module and its submodules are one concept in
//! several files, so there is no edge between a file and one below it.

use crate::source::{Token, fail_if_any, root, rust_files, text, tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module: a file, or an inline `mod name { .. }` of one.
struct Module {
    file: usize,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// The paths and single names in code outside of `use`.
    mentions: BTreeSet<Vec<String>>,
}

/// The lookups of one resolution, (module, name): globs may import each other.
type Seen = BTreeSet<(usize, String)>;

/// One leaf of a `use`.
#[derive(Clone)]
struct Import {
    path: Vec<String>,
    /// The name that it binds; `*` for a glob.
    name: String,
}

#[derive(Clone, PartialEq)]
enum Target {
    Module(usize),
    Item { file: usize, name: String },
}

/// (file, item) that any file of the crate may name, `*` for every item: a tensor and the trait of its parameter mention each other,
/// and the trait is the sum of the families, which it names.
const SHARED: &[(&str, &str)] = &[("core/src/backend.rs", "*"), ("core/src/tensor.rs", "Tensor")];

/// All crates of the repository: a file that no other file declares is a root.
#[derive(Default)]
struct Tree {
    modules: Vec<Module>,
    files: Vec<String>,
    /// `macro_rules!` definitions by (root module, name), with their files: textual scope crosses files.
    macros: BTreeMap<(usize, String), usize>,
}

impl Tree {
    fn of_repository() -> Tree {
        let all = rust_files("");
        let paths: BTreeSet<&str> = all.iter().map(|(path, _)| path.as_str()).collect();
        // `mod name;` in every file, as the path of the file that it declares.
        let declared: BTreeSet<String> = all
            .iter()
            .flat_map(|(path, text)| {
                declarations(&tokens(text)).map(|d| child_path(path, &d, true)).collect::<Vec<_>>()
            })
            .flatten()
            .filter(|path| paths.contains(path.as_str()))
            .collect();
        let mut tree = Tree::default();
        for (path, _) in all.iter().filter(|(path, _)| !declared.contains(path)) {
            tree.add_file(path, None);
        }
        tree
    }

    fn add_module(&mut self, file: usize, parent: Option<usize>) -> usize {
        let (children, items, imports, mentions) = Default::default();
        self.modules.push(Module { file, parent, children, items, imports, mentions });
        self.modules.len() - 1
    }

    fn add_file(&mut self, path: &str, parent: Option<usize>) -> usize {
        let file = self.files.len();
        self.files.push(path.to_string());
        let module = self.add_module(file, parent);
        let is_root = parent.is_none();
        self.parse(module, &tokens(&text(path)), path, is_root);
        module
    }

    /// Reads a file's tokens into its module, and the files and inline modules that it declares.
    fn parse(&mut self, module: usize, tokens: &[Token], path: &str, is_root: bool) {
        let is = |i: usize, text: &str| tokens.get(i).is_some_and(|token| token.is(text));
        let (mut depth, mut at) = (0, module);
        let mut inline: Vec<(usize, usize)> = Vec::new(); // the enclosing module, and the depth of its braces
        let mut i = 0;
        while i < tokens.len() {
            let token = &tokens[i];
            let name = tokens.get(i + 1).map(|token| token.text.clone()).unwrap_or_default();
            let top = depth == inline.last().map_or(0, |&(_, depth)| depth + 1);
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if let Some(&(outer, of)) = inline.last()
                        && of == depth
                    {
                        at = outer;
                        inline.pop();
                    }
                }
                "mod" if is(i + 2, ";") => {
                    let declaration = Declaration { name: name.clone(), at: path_attribute(tokens, i) };
                    let found = child_path(path, &declaration, is_root).into_iter().find(|p| root().join(p).exists());
                    if let Some(found) = found {
                        let child = self.add_file(&found, Some(at));
                        self.modules[at].children.insert(name, child);
                    }
                    i += 2;
                }
                "mod" if is(i + 2, "{") => {
                    let child = self.add_module(self.modules[at].file, Some(at));
                    self.modules[at].children.insert(name, child);
                    inline.push((at, depth));
                    (at, depth, i) = (child, depth + 1, i + 2);
                }
                "use" if top || !is(i + 1, "<") => {
                    let end = i + tokens[i..].iter().position(|token| token.is(";")).unwrap_or(0);
                    let mut found = Vec::new();
                    use_tree(&tokens[i + 1..end.max(i + 1)], &[], &mut found);
                    for (path, name) in found {
                        self.modules[at].imports.push(Import { path, name });
                    }
                    i = end.max(i);
                }
                "macro_rules" => {
                    let name = tokens.get(i + 2).map(|token| token.text.clone()).unwrap_or_default();
                    self.modules[at].items.insert(name.clone());
                    let root = self.root_of(at);
                    self.macros.insert((root, name), self.modules[at].file);
                    i += 2;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union"
                    if top && tokens.get(i + 1).is_some_and(Token::is_name) =>
                {
                    let skip = ["mut", "fn", "unsafe", "extern"].contains(&name.as_str());
                    if !skip {
                        self.modules[at].items.insert(name);
                        i += 1;
                    }
                }
                _ if token.is_name() && !(i > 0 && tokens[i - 1].is(".")) => {
                    let mut path = vec![token.text.clone()];
                    while is(i + 1, "::") && tokens.get(i + 2).is_some_and(Token::is_name) {
                        path.push(tokens[i + 2].text.clone());
                        i += 2;
                    }
                    if path.len() == 1 && is(i + 1, "!") {
                        path.push("!".to_string());
                    }
                    self.modules[at].mentions.insert(path);
                }
                _ => {}
            }
            i += 1;
        }
    }

    fn item(&self, module: usize, name: &str) -> Target {
        Target::Item { file: self.modules[module].file, name: name.to_string() }
    }

    fn root_of(&self, mut module: usize) -> usize {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }

    /// What a path names, seen from a module; `None` for what other crates define.
    fn resolve(&self, from: usize, path: &[String], seen: &mut Seen) -> Option<Target> {
        let (mut at, mut rest) = (from, path);
        match path.first()?.as_str() {
            "crate" => (at, rest) = (self.root_of(from), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    (at, rest) = (self.modules[at].parent?, &rest[1..]);
                }
            }
            _ => return self.descend(from, path, seen),
        }
        match rest {
            [] => Some(Target::Module(at)),
            // A name that a macro defines is not found: it belongs to the module.
            _ => Some(self.descend(at, rest, seen).unwrap_or_else(|| self.item(at, &rest[0]))),
        }
    }

    fn descend(&self, at: usize, path: &[String], seen: &mut Seen) -> Option<Target> {
        let module = &self.modules[at];
        let name = &path[0];
        if !seen.insert((at, name.clone())) {
            return None;
        }
        let found = match module.children.get(name) {
            Some(&child) => Some(Target::Module(child)),
            None if module.items.contains(name) => Some(self.item(at, name)),
            None => {
                let imported = |wanted: &str| -> Vec<&Import> {
                    module.imports.iter().filter(|import| import.name == wanted).collect()
                };
                let found = imported(name).into_iter().find_map(|import| self.resolve(at, &import.path, seen));
                found.or_else(|| imported("*").into_iter().find_map(|glob| self.through_glob(at, glob, name, seen)))
            }
        };
        match found? {
            Target::Module(child) if path.len() > 1 => {
                Some(self.descend(child, &path[1..], seen).unwrap_or_else(|| self.item(child, &path[1])))
            }
            found => Some(found),
        }
    }

    fn through_glob(&self, at: usize, glob: &Import, name: &str, seen: &mut Seen) -> Option<Target> {
        match self.resolve(at, &glob.path, seen)? {
            Target::Module(module) if module != at => self.descend(module, &[name.to_string()], seen),
            _ => None,
        }
    }

    /// Whether a file's module lies below another file's.
    fn is_below(&self, file: usize, of: usize) -> bool {
        let mut at = self.modules.iter().position(|module| module.file == file);
        while let Some(module) = at {
            if self.modules[module].file == of {
                return true;
            }
            at = self.modules[module].parent;
        }
        false
    }

    /// For each file the files that it uses, with the names.
    fn edges(&self) -> Vec<BTreeMap<usize, BTreeSet<String>>> {
        let mut edges = vec![BTreeMap::<usize, BTreeSet<String>>::new(); self.files.len()];
        for (at, module) in self.modules.iter().enumerate() {
            let mut add = |target: Option<Target>| {
                if let Some(Target::Item { file, name }) = target
                    && file != module.file
                    && !is_shared(&self.files[file], &name)
                    && !(self.is_below(file, module.file) || self.is_below(module.file, file))
                {
                    edges[module.file].entry(file).or_default().insert(name);
                }
            };
            for path in &module.mentions {
                match path.as_slice() {
                    [name, mark] if mark == "!" => {
                        let file = self.macros.get(&(self.root_of(at), name.clone()));
                        add(file.map(|&file| Target::Item { file, name: format!("{name}!") }));
                    }
                    path => add(self.resolve(at, path, &mut Seen::new())),
                }
            }
            for import in module.imports.iter().filter(|import| import.name != "*") {
                add(self.resolve(at, &import.path, &mut Seen::new()));
            }
        }
        edges
    }

    /// The strongly connected components of more than one file, each as a list of its edges.
    fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reach: Vec<BTreeSet<usize>> = (0..edges.len())
            .map(|from| {
                let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
                while let Some(file) = next.pop() {
                    next.extend(edges[file].keys().filter(|&&to| seen.insert(to)));
                }
                seen
            })
            .collect();
        let mut circles = Vec::<Vec<String>>::new();
        let mut done = BTreeSet::new();
        for a in 0..edges.len() {
            if !reach[a].contains(&a) || !done.insert(a) {
                continue;
            }
            let circle: Vec<usize> =
                (0..edges.len()).filter(|&b| reach[a].contains(&b) && reach[b].contains(&a)).collect();
            done.extend(&circle);
            let circle_edges: Vec<String> = circle
                .iter()
                .flat_map(|&from| edges[from].iter().map(move |(to, names)| (from, *to, names)))
                .filter(|(_, to, _)| circle.contains(to))
                .map(|(from, to, names)| {
                    let names: Vec<&str> = names.iter().take(4).map(String::as_str).collect();
                    format!("{} uses {} ({})", self.files[from], self.files[to], names.join(", "))
                })
                .collect();
            // A folder that several programs share by `#[path]` occurs once per program.
            if !circles.contains(&circle_edges) {
                circles.push(circle_edges);
            }
        }
        circles
    }
}

fn is_shared(file: &str, name: &str) -> bool {
    SHARED.iter().any(|&(of, item)| of == file && (item == "*" || item == name))
}

/// `mod name;`, with the value of its `#[path]`.
struct Declaration {
    name: String,
    at: Option<String>,
}

fn declarations(tokens: &[Token]) -> impl Iterator<Item = Declaration> {
    (0..tokens.len().saturating_sub(2))
        .filter(|&i| tokens[i].is("mod") && tokens[i + 2].is(";"))
        .map(|i| Declaration { name: tokens[i + 1].text.clone(), at: path_attribute(tokens, i) })
}

/// The string of `#[path = ".."]` that ends right before the declaration at `i`, visibility aside.
fn path_attribute(tokens: &[Token], i: usize) -> Option<String> {
    let before = &tokens[i.saturating_sub(12)..i];
    let at = before.iter().rposition(|token| token.is("path"))?;
    let clear = before[at..].iter().all(|token| !token.is(";") && !token.is("}"));
    let value = before.get(at + 2)?;
    (clear && before[at + 1].is("=")).then(|| value.text.trim_start_matches('"').to_string())
}

/// The paths that a declaration in a file may mean.
fn child_path(path: &str, declaration: &Declaration, is_root: bool) -> Vec<String> {
    let path = Path::new(path);
    let folder = path.parent().unwrap_or(Path::new(""));
    if let Some(at) = &declaration.at {
        let (mut folder, mut at) = (folder, at.as_str());
        while let Some(below) = at.strip_prefix("../") {
            (folder, at) = (folder.parent().unwrap_or(folder), below);
        }
        return vec![folder.join(at).display().to_string()];
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let below = folder.join(&*stem);
    let folders = match (stem.as_ref(), is_root) {
        ("lib" | "main" | "mod" | "build", _) => vec![folder],
        (_, true) => vec![folder, below.as_path()],
        (_, false) => vec![below.as_path()],
    };
    let name = &declaration.name;
    let candidates =
        folders.iter().flat_map(|folder| [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]);
    candidates.map(|path| path.display().to_string()).collect()
}

/// The leaves of a `use` tree: full path, and the name that it binds.
fn use_tree(tokens: &[Token], before: &[String], out: &mut Vec<(Vec<String>, String)>) {
    let mut path = before.to_vec();
    let mut i = 0;
    while i < tokens.len() {
        let token = &tokens[i];
        match token.text.as_str() {
            "::" => {}
            "*" => return out.push((path, "*".to_string())),
            "as" => {
                let name = tokens.get(i + 1).map(|token| token.text.clone()).unwrap_or_default();
                return out.push((path, name));
            }
            "{" => {
                // The parts between commas outside of inner braces.
                let (mut depth, mut start) = (0, i + 1);
                for j in i..tokens.len() {
                    match tokens[j].text.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    if (tokens[j].is(",") && depth == 1) || depth == 0 {
                        if j > start {
                            use_tree(&tokens[start..j], &path, out);
                        }
                        start = j + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
                return;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_string()),
        }
        i += 1;
    }
    if let Some(name) = path.last().cloned() {
        out.push((path, name));
    }
}

#[test]
fn files_import_without_circles() {
    let circles = Tree::of_repository().circles();
    let descriptions: Vec<String> = circles
        .iter()
        .enumerate()
        .map(|(i, edges)| format!("circle {} of {}:\n    {}", i + 1, circles.len(), edges.join("\n    ")))
        .collect();
    fail_if_any("two files that import each other are one concept, or share a third", descriptions);
}
