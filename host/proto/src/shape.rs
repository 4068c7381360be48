//! What a message becomes, field by field, worked out once when its schema is compiled.

use std::collections::HashMap;

use prost::encoding::WireType;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use wireglot_model::{Value, is_storable_key};

use crate::print::{Printer, Special};

/// Fields up to this number are found without a search.
const DIRECT_NUMBERS_MAX: u32 = 64;

/// How one message is read.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) descriptor: MessageDescriptor,
    /// In the order of their numbers, which is the order in which they are printed.
    pub(crate) fields: Vec<Field>,
    /// By number, the place in `fields` + 1; 0: no such field.
    direct: Vec<u16>,
    pub(crate) names: AliasNames,
    /// The message is a timestamped record if its `ts` and its `values` are both there.
    pub(crate) timed: Option<Box<Timed>>,
}

/// Where a timestamped record has its parts.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) ts: FieldDescriptor,
    pub(crate) values: FieldDescriptor,
    /// How `values` is read; `None`: not a message of its own fields (a map, a well-known type, a member of a oneof).
    pub(crate) inner: Option<Shape>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) key: Box<str>,
    pub(crate) reading: Reading,
    /// What is printed when nothing was sent; `None` where that is nothing.
    pub(crate) absent: Option<Value>,
    pub(crate) descriptor: FieldDescriptor,
    pub(crate) is_stored: bool,
}

/// How a field is read.
#[derive(Debug)]
pub(crate) enum Reading {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    Text,
    Bytes,
    Enum(HashMap<i32, Box<str>>),
    /// By way of a dynamic message: lists, maps, messages, members of a oneof.
    Dynamic(OnWire),
}

/// The types of the wire in which a field that is not read here may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OnWire {
    pub(crate) own: WireType,
    pub(crate) may_be_packed: bool,
}

impl Shape {
    pub(crate) fn new(descriptor: MessageDescriptor) -> Self {
        let mut shape = Self::flat(descriptor.clone());
        let field = |name: &str| descriptor.fields().find(|field| field.json_name() == name);
        if let (Some(ts), Some(values)) = (field("ts"), field("values")) {
            let inner = match values.kind() {
                Kind::Message(inner)
                    if !values.is_list()
                        && !values.is_map()
                        && values.containing_oneof().is_none()
                        && Special::of(&inner).is_none() =>
                {
                    Some(Self::flat(inner))
                }
                _ => None,
            };
            shape.timed = Some(Box::new(Timed { ts, values, inner }));
        }
        shape
    }

    fn flat(descriptor: MessageDescriptor) -> Self {
        let names = AliasNames::of(descriptor.parent_pool());
        let fields: Vec<Field> = descriptor.fields().map(|field| Field::new(field, &names)).collect();
        let mut direct = vec![0; DIRECT_NUMBERS_MAX as usize];
        for (index, field) in fields.iter().enumerate() {
            let place = u16::try_from(index + 1).expect("a schema of 64 KiB has fewer fields");
            let number = usize::try_from(field.number).unwrap_or(usize::MAX);
            if let Some(slot) = direct.get_mut(number) {
                *slot = place;
            }
        }
        Self { descriptor, fields, direct, names, timed: None }
    }

    /// The place of the field of this number.
    pub(crate) fn place(&self, number: u32) -> Option<usize> {
        if number < DIRECT_NUMBERS_MAX {
            let place = *self.direct.get(number as usize)?;
            return usize::from(place).checked_sub(1);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

impl Field {
    fn new(descriptor: FieldDescriptor, names: &AliasNames) -> Self {
        let absent = if descriptor.supports_presence() {
            None
        } else {
            let default = prost_reflect::Value::default_value_for_field(&descriptor);
            // The default of a field takes no more room than its name.
            Printer::new(names).typed(&descriptor.kind(), &default).unwrap_or_default()
        };
        let key = descriptor.json_name();
        Self {
            number: descriptor.number(),
            key: key.into(),
            reading: Reading::of(&descriptor, names),
            absent,
            is_stored: is_storable_key(key),
            descriptor,
        }
    }
}

impl Reading {
    fn of(field: &FieldDescriptor, names: &AliasNames) -> Self {
        let in_oneof = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
        if field.is_list() || field.is_map() || in_oneof {
            return Reading::dynamic(field);
        }
        match field.kind() {
            Kind::Bool => Reading::Bool,
            Kind::Int32 => Reading::Int32,
            Kind::Int64 => Reading::Int64,
            Kind::Uint32 => Reading::Uint32,
            Kind::Uint64 => Reading::Uint64,
            Kind::Sint32 => Reading::Sint32,
            Kind::Sint64 => Reading::Sint64,
            Kind::Fixed32 => Reading::Fixed32,
            Kind::Fixed64 => Reading::Fixed64,
            Kind::Sfixed32 => Reading::Sfixed32,
            Kind::Sfixed64 => Reading::Sfixed64,
            Kind::Float => Reading::Float,
            Kind::Double => Reading::Double,
            Kind::String => Reading::Text,
            Kind::Bytes => Reading::Bytes,
            Kind::Enum(kind) if is_null(&kind) => Reading::dynamic(field),
            Kind::Enum(kind) => {
                let values = kind.values();
                let name = |number| names.name(&kind, number).map(|name| (number, name.into()));
                Reading::Enum(values.filter_map(|value| name(value.number())).collect())
            }
            Kind::Message(_) => Reading::dynamic(field),
        }
    }

    fn dynamic(field: &FieldDescriptor) -> Self {
        Reading::Dynamic(OnWire { own: field.kind().wire_type(), may_be_packed: field.is_list() })
    }
}

/// The enum whose only value is printed as null.
pub(crate) fn is_null(kind: &EnumDescriptor) -> bool {
    kind.full_name() == "google.protobuf.NullValue"
}

/// Of several names of one number the first is printed. Known for the enums that allow several.
#[derive(Clone, Debug, Default)]
pub(crate) struct AliasNames(HashMap<String, HashMap<i32, String>>);

impl AliasNames {
    pub(crate) fn of(pool: &DescriptorPool) -> Self {
        let allows = |kind: &EnumDescriptor| {
            kind.enum_descriptor_proto().options.as_ref().is_some_and(|options| options.allow_alias())
        };
        let first_names = |kind: EnumDescriptor| {
            let mut names = HashMap::new();
            for value in &kind.enum_descriptor_proto().value {
                names.entry(value.number()).or_insert_with(|| value.name().to_owned());
            }
            (kind.full_name().to_owned(), names)
        };
        Self(pool.all_enums().filter(allows).map(first_names).collect())
    }

    pub(crate) fn name(&self, kind: &EnumDescriptor, number: i32) -> Option<String> {
        match self.0.get(kind.full_name()) {
            Some(names) => names.get(&number).cloned(),
            None => kind.get_value(number).map(|value| value.name().to_owned()),
        }
    }
}
