//! Result shapes: RowDescriptions that JavaScript has seen, by their bytes.

use std::collections::HashMap;
use std::rc::Rc;

use heys_core::proto::NUMBER;
use heys_core::rows::{CellKind, Field};

use crate::raw::{Js, Value};

/// The cache is emptied when it holds this many shapes…
const SHAPES_MAX: usize = 1024;
/// …and longer RowDescriptions are not kept.
const BODY_MAX: usize = 64 * 1024;

/// One shape.
pub(crate) struct Shape {
    pub(crate) id: i32,
    /// The RowDescription that it comes from.
    pub(crate) body: Rc<[u8]>,
    pub(crate) kinds: Box<[CellKind]>,
    /// The same for a query whose cells must all come as text.
    pub(crate) text_kinds: Box<[CellKind]>,
}

/// The shapes of an environment. An id is never used for a second shape.
#[derive(Default)]
pub(crate) struct Shapes {
    by_body: HashMap<Rc<[u8]>, Rc<Shape>>,
    next: i32,
}

impl Shapes {
    pub(crate) fn get(&self, body: &[u8]) -> Option<Rc<Shape>> {
        self.by_body.get(body).cloned()
    }

    /// The id for a shape about to be shown to JavaScript.
    pub(crate) fn next_id(&mut self) -> i32 {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        id
    }

    pub(crate) fn insert(&mut self, body: &[u8], id: i32, kinds: Vec<CellKind>) -> Rc<Shape> {
        let text_kinds = kinds
            .iter()
            .map(|kind| match kind {
                CellKind::Int | CellKind::Bool => CellKind::Text,
                kept => *kept,
            })
            .collect();
        let body: Rc<[u8]> = body.into();
        let shape = Rc::new(Shape {
            id,
            body: Rc::clone(&body),
            kinds: kinds.into(),
            text_kinds,
        });
        if body.len() <= BODY_MAX {
            if self.by_body.len() >= SHAPES_MAX {
                self.by_body.clear();
            }
            self.by_body.insert(body, Rc::clone(&shape));
        }
        shape
    }
}

/// The border's RawField objects.
pub(crate) fn raw_fields(js: Js, fields: &[Field]) -> Value {
    let objects: Vec<Value> = fields
        .iter()
        .map(|field| {
            let object = js.object();
            js.set(object, c"name", js.string(&field.name));
            js.set(object, c"tableID", js.number(f64::from(field.table)));
            js.set(object, c"columnID", js.int(field.column.into()));
            js.set(object, c"dataTypeID", js.number(f64::from(field.type_oid)));
            js.set(object, c"dataTypeSize", js.int(field.type_size.into()));
            js.set(object, c"dataTypeModifier", js.int(field.type_modifier));
            let format = match field.format {
                0 => "text",
                NUMBER => "number",
                _ => "binary",
            };
            js.set(object, c"format", js.string(format));
            object
        })
        .collect();
    js.array(&objects)
}

/// The kinds that JavaScript chose, word by word; columns without a valid one are text.
pub(crate) fn kinds(js: Js, answer: Option<Value>, columns: usize) -> Vec<CellKind> {
    let kind = |number: i32| match number {
        1 => CellKind::Int,
        2 => CellKind::Bool,
        3 => CellKind::Bytes,
        4 => CellKind::Float8,
        5 => CellKind::Timestamptz,
        _ => CellKind::Text,
    };
    let mut kinds = Vec::with_capacity(columns);
    if let Some(answer) = answer {
        if let Some(bytes) = js.bytes(answer) {
            kinds.extend(bytes.iter().take(columns).map(|byte| kind(i32::from(*byte))));
        } else if js.is_array(answer) {
            for index in 0..js.length(answer).min(columns as u32) {
                kinds.push(kind(js.get_int(js.element(answer, index)).unwrap_or(0)));
            }
        }
    }
    kinds.resize(columns, CellKind::Text);
    let words = kinds.into_iter().flat_map(|kind| {
        let is_wide = matches!(kind, CellKind::Float8 | CellKind::Timestamptz);
        std::iter::once(kind).chain(is_wide.then_some(CellKind::High))
    });
    words.collect()
}
