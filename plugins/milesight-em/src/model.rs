//! Which Milesight EM device speaks: what its shared channels mean, and how its history records are laid out.

/// One value of a history record.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Field {
    Temperature,
    /// One byte, half steps.
    Humidity,
    /// 0 closed, 1 open.
    Magnet,
    /// 0 normal, 1 leak.
    Leak,
    /// Bytes that do not matter.
    Reserved(usize),
    Co2,
    /// Tenths of hPa.
    AirPressure,
    Illumination,
    WaterLevel,
    Distance,
    /// kPa.
    PipePressure,
    /// Conductivity, then soil temperature and moisture.
    Soil,
    /// Kind of input, its level, its pulses; only one of them is meant.
    Input,
    DistanceChange,
    /// Bits of what happened.
    RadarEvents,
}

/// What channel 05, type 00 means.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Contact {
    Leak,
    Position,
    Input,
}

/// How one model differs from the others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Model {
    pub(crate) contact: Contact,
    /// Channel 04, type 68 is soil moisture, not humidity.
    pub(crate) soil: bool,
    /// The position begins with the latitude.
    pub(crate) latitude_first: bool,
    /// Empty where the model keeps no records.
    pub(crate) record: &'static [Field],
}

const fn model(contact: Contact, record: &'static [Field]) -> Model {
    Model { contact, soil: false, latitude_first: false, record }
}

use Field::{
    AirPressure, Co2, Distance, DistanceChange, Humidity, Illumination, Input, Leak, Magnet, PipePressure,
    RadarEvents, Reserved, Soil, Temperature, WaterLevel,
};

const LEAK_RECORD: &[Field] = &[Temperature, Humidity, Leak];
const RADAR_RECORD: &[Field] = &[Distance, Temperature, DistanceChange, RadarEvents];

const MODELS: &[(&str, Model)] = &[
    ("EM300-TH", model(Contact::Leak, &[Temperature, Humidity, Reserved(1)])),
    ("EM300-MCS", model(Contact::Leak, &[Temperature, Humidity, Magnet])),
    ("EM300-SLD", model(Contact::Leak, LEAK_RECORD)),
    ("EM300-ZLD", model(Contact::Leak, LEAK_RECORD)),
    ("EM300-MLD", model(Contact::Leak, &[Reserved(3), Leak])),
    ("EM300-DI", model(Contact::Input, &[Temperature, Humidity, Input])),
    ("EM300-DI-HALL", model(Contact::Input, &[Temperature, Humidity, Input])),
    ("EM300-CL", model(Contact::Leak, &[])),
    ("EM310-UDL", model(Contact::Position, &[])),
    ("EM310-TILT", model(Contact::Position, &[])),
    ("EM320-TH", model(Contact::Leak, &[Temperature, Humidity])),
    ("EM320-TILT", model(Contact::Position, &[])),
    ("EM330-TH", model(Contact::Leak, &[Temperature, Humidity])),
    ("EM400-MUD", model(Contact::Position, &[])),
    ("EM400-UDL", model(Contact::Position, &[])),
    ("EM400-TLD", Model { latitude_first: true, ..model(Contact::Position, &[]) }),
    ("EM410-RDL", model(Contact::Position, RADAR_RECORD)),
    ("EM411-RDL", model(Contact::Position, RADAR_RECORD)),
    ("EM500-CO2", model(Contact::Leak, &[Co2, AirPressure, Temperature, Humidity])),
    ("EM500-LGT", model(Contact::Leak, &[Illumination])),
    ("EM500-PP", model(Contact::Leak, &[PipePressure])),
    ("EM500-PT100", model(Contact::Leak, &[Temperature])),
    ("EM500-SMTC", Model { soil: true, ..model(Contact::Leak, &[Soil]) }),
    ("EM500-SWL", model(Contact::Leak, &[WaterLevel])),
    ("EM500-UDL", model(Contact::Leak, &[Distance])),
];

/// The model of that name, in any case.
pub(crate) fn find(name: &str) -> Result<Model, String> {
    if let Some((_, model)) = MODELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok(*model);
    }
    let mut text = format!("\"model\" is \"{name}\"; known:");
    for (known, _) in MODELS {
        text.push(' ');
        text.push_str(known);
    }
    Err(text)
}
