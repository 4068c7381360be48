//! What can go wrong, and whose fault it is. The texts of `Rule` are those that existing clients know.

use wireglot_model::limits::{
    ADDITIONAL_INFO_BYTES_MAX, API_KEY_DESCRIPTION_CHARS_MAX, API_KEYS_MAX, API_KEYS_PER_USER_MAX,
    ATTRIBUTES_PER_SCOPE_MAX, CUSTOMERS_MAX, GATEWAY_DEVICES_MAX, GATEWAY_PROFILES_MAX, KEY_CHARS_MAX,
    NAME_CHARS_MAX, NAME_PATTERN_BYTES_MAX, OTA_PACKAGES_MAX, OTA_TEXT_CHARS_MAX, OTA_URL_BYTES_MAX,
    PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PROFILES_MAX, SECRET_BYTES_MAX, TITLE_CHARS_MAX, USERS_MAX,
};
use wireglot_model::segments::InvalidSegment;
use wireglot_model::{ChecksumAlgorithm, Fault};
use wireglot_proto::SchemaError;
use wireglot_store::{CommitError, FileError, ReadError};

/// Why a management call failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A rule for the data was broken.
    #[error(transparent)]
    Invalid(#[from] Rule),
    /// What was asked for does not exist.
    #[error("Requested item wasn't found!")]
    NotFound,
    /// Somebody else has saved it meanwhile.
    #[error("The item was changed by somebody else meanwhile: read it again")]
    VersionConflict,
    /// A bound was reached.
    #[error("a device may have {ATTRIBUTES_PER_SCOPE_MAX} attributes in one scope")]
    TooManyAttributes,
    /// The caller may not do this.
    #[error("You don't have permission to perform this operation!")]
    NotPermitted,
    /// The user name or the password is wrong.
    #[error("Invalid username or password")]
    BadLogin,
    /// A frame that was decoded again may not be stored any more.
    #[error("a frame that was decoded again is not accepted: {0}")]
    NotAccepted(String),
    /// The file of a package was not kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store did not keep the change.
    #[error("the change could not be stored")]
    NotStored(#[from] CommitError),
    /// The store could not be read.
    #[error("the store could not be read")]
    NotRead(#[source] ReadError),
    /// More than is read at once.
    #[error("{0}")]
    TooMuch(String),
    /// The operating system gave no random bytes, or hashing a password failed.
    #[error("no secret could be made: {0}")]
    NoSecret(String),
}

/// A rule that a saved record must keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("There may be {0} devices: delete some, or raise 'devices_max'!")]
    TooManyDevices(usize),
    #[error("Device name should be specified!")]
    DeviceNameMissing,
    #[error("Device with such name already exists!")]
    DeviceNameTaken,
    #[error("Device is referencing to non-existent device profile!")]
    UnknownProfile,
    #[error("Additional info should be a JSON object!")]
    AdditionalInfoNotObject,
    #[error("Additional info has at most {ADDITIONAL_INFO_BYTES_MAX} bytes!")]
    AdditionalInfoTooLong,
    #[error("A label has at most {NAME_CHARS_MAX} characters!")]
    LabelTooLong,
    #[error("There may be {PROFILES_MAX} device profiles: delete some first!")]
    TooManyProfiles,
    #[error("A name has at most {NAME_CHARS_MAX} characters!")]
    NameTooLong,
    #[error("Device profile name should be specified!")]
    ProfileNameMissing,
    #[error("Device profile with such name already exists!")]
    ProfileNameTaken,
    #[error("Another default device profile is present in scope of current tenant!")]
    SecondDefaultProfile,
    #[error("Can't change device profile transport type because devices referenced it!")]
    TransportInUse,
    #[error("Deletion of Default Device Profile is prohibited!")]
    DefaultProfileStays,
    #[error("The device profile referenced by the devices cannot be deleted!")]
    ProfileInUse,
    #[error(
        "[Transport Configuration] '{0}' is not a topic filter: it is too long or holds control characters!"
    )]
    InvalidTopic(String),
    #[error("[Transport Configuration] '{filter}' is not a topic filter: {problem}!")]
    InvalidSegment { filter: String, problem: InvalidSegment },
    #[error("[Transport Configuration] codec settings should be a JSON object!")]
    SettingsNotObject,
    /// The schema, and where it is wrong.
    #[error("[Transport Configuration] {0}")]
    InvalidSchema(SchemaError),
    #[error("[Transport Configuration] the codec version '{0}' was not looked up!")]
    PinNotFound(String),
    #[error(
        "[Transport Configuration] with an 'envelope', 'deviceTelemetryTopic' has no named segments: use '+', as the \
         envelope tells what they would!"
    )]
    SegmentsInEnvelope,
    #[error("[Transport Configuration] 'carriedDevicesMax' is at most {GATEWAY_DEVICES_MAX}!")]
    TooManyCarried,
    #[error("Specified credentials are already registered!")]
    CredentialsTaken,
    #[error("Device credentials id should be specified!")]
    TokenMissing,
    #[error("Device credentials value should be specified!")]
    CertificateMissing,
    #[error("Credentials are longer than allowed!")]
    CredentialsTooLong,
    #[error("Credentials contain control characters!")]
    ControlCharacters,
    #[error("Password cannot be specified along with client id")]
    PasswordWithClientId,
    #[error("Both mqtt client id and user name are empty!")]
    NoClientIdNorUserName,
    #[error("a key has 1 to {KEY_CHARS_MAX} characters and is not blank")]
    InvalidKey,
    #[error("Password must not be empty!")]
    PasswordEmpty,
    #[error("Device profile with such provision device key already exists!")]
    ProvisionKeyTaken,
    #[error("Device profile with such certificate already exists!")]
    ProvisionCertificateTaken,
    #[error("Device profile provision device key should be specified!")]
    ProvisionKeyMissing,
    #[error("Device profile provision device secret should be specified!")]
    ProvisionSecretMissing,
    #[error("The provision device key and the secret have at most {SECRET_BYTES_MAX} bytes!")]
    ProvisionSecretTooLong,
    #[error("Device profile certificate cannot be well known root CA!")]
    ProvisionRootCertificate,
    #[error("Device profile certificate should be an X.509 certificate in PEM, or the base64 of its DER!")]
    ProvisionCertificateInvalid,
    #[error(
        "Certificate regular expression pattern is not one, or has no group for the device's name, or has more than \
         {NAME_PATTERN_BYTES_MAX} bytes: {0}!"
    )]
    ProvisionPatternInvalid(String),
    #[error("Customer title should be specified!")]
    CustomerTitleMissing,
    #[error("The details of a customer have at most {ADDITIONAL_INFO_BYTES_MAX} bytes together!")]
    CustomerDetailsTooLong,
    #[error("Customer with such title already exists!")]
    CustomerTitleTaken,
    #[error("Titles, names and e-mail addresses have at most {TITLE_CHARS_MAX} characters!")]
    TitleTooLong,
    #[error("There may be {CUSTOMERS_MAX} customers!")]
    TooManyCustomers,
    #[error("User is referencing to non-existent customer!")]
    UnknownCustomer,
    #[error("Invalid email address format '{0}'!")]
    InvalidEmail(String),
    #[error("User with email '{0}' already present in database!")]
    EmailTaken(String),
    #[error("There may be {USERS_MAX} users!")]
    TooManyUsers,
    #[error("User is already activated!")]
    AlreadyActivated,
    #[error("Invalid activation token!")]
    InvalidActivation,
    #[error("Activation token expired! An administrator gets a new link by asking for it again")]
    ActivationEnded,
    #[error("The authority and the customer of a user cannot be changed: make another user!")]
    UserStays,
    #[error("The last administrator cannot be deleted: make another one first!")]
    LastAdministrator,
    #[error("Current password doesn't match!")]
    WrongPassword,
    #[error("New password should be different from existing!")]
    SamePassword,
    #[error("Password must be no more than {PASSWORD_CHARS_MAX} characters!")]
    PasswordTooLong,
    #[error("API key description should be specified!")]
    ApiKeyDescriptionMissing,
    #[error("API key description has at most {API_KEY_DESCRIPTION_CHARS_MAX} characters!")]
    ApiKeyDescriptionTooLong,
    #[error(
        "The 'expirationTime' of an API key lies in the future, or is 0 for a key that is good for ever!"
    )]
    ApiKeyInPast,
    #[error("A user may have {API_KEYS_PER_USER_MAX} API keys: delete some first!")]
    TooManyApiKeysOfUser,
    #[error("There may be {API_KEYS_MAX} API keys: delete some first!")]
    TooManyApiKeys,
    #[error("Password must be no less than {PASSWORD_CHARS_MIN} characters!")]
    PasswordTooShort,
    #[error("Device isn't assigned to any customer!")]
    NotAssigned,
    #[error("OtaPackage title should be specified!")]
    PackageTitleMissing,
    #[error("OtaPackage version should be specified!")]
    PackageVersionMissing,
    #[error("OtaPackage with such title and version already exists!")]
    PackageTaken,
    #[error("Title, version and tag of an otaPackage have at most {OTA_TEXT_CHARS_MAX} characters!")]
    PackageTextTooLong,
    #[error("The url of an otaPackage and the name of its file have 1 to {OTA_URL_BYTES_MAX} bytes!")]
    PackageUrlTooLong,
    #[error("OtaPackage is referencing to non-existent device profile!")]
    PackageProfileUnknown,
    #[error("There may be {OTA_PACKAGES_MAX} otaPackages: delete some first!")]
    TooManyPackages,
    #[error("Updating otaPackage {0} is prohibited!")]
    PackageFixed(&'static str),
    #[error("Wrong otaPackage file: its {algorithm} is {is}, not {given}!")]
    WrongChecksum { algorithm: ChecksumAlgorithm, is: String, given: String },
    #[error("The otaPackage referenced by the devices cannot be deleted!")]
    PackageUsedByDevices,
    #[error("The otaPackage referenced by the device profile cannot be deleted!")]
    PackageUsedByProfile,
    #[error("Can't assign non-existent {0}!")]
    PackageUnknown(&'static str),
    #[error("Can't assign {wanted} with type: {is}!")]
    PackageOfOtherKind { wanted: &'static str, is: &'static str },
    #[error("Can't assign {0} with empty data!")]
    PackageWithoutData(&'static str),
    #[error("Can't assign {0} with different deviceProfile!")]
    PackageOfOtherProfile(&'static str),
}

impl From<ReadError> for DeviceError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooMuchAtOneTime => DeviceError::TooMuch(error.to_string()),
            ReadError::Engine(_) | ReadError::Damaged { .. } => DeviceError::NotRead(error),
        }
    }
}

impl DeviceError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            DeviceError::Invalid(_)
            | DeviceError::NotFound
            | DeviceError::VersionConflict
            | DeviceError::NotAccepted(_) => Fault::Device,
            DeviceError::BadLogin | DeviceError::NotPermitted => Fault::Denied,
            DeviceError::TooManyAttributes | DeviceError::TooMuch(_) => Fault::Quota,
            DeviceError::File(FileError::TooLarge { .. } | FileError::Full { .. }) => Fault::Quota,
            DeviceError::File(FileError::Disk(_)) => Fault::Host,
            DeviceError::NotStored(error) => error.fault(),
            DeviceError::NotRead(_) | DeviceError::NoSecret(_) => Fault::Host,
        }
    }
}

/// Why a message of a device was not accepted. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It speaks for another device and may not.
    #[error("the device speaks for '{child}', but it is not a gateway")]
    NotGateway {
        /// For whom.
        child: String,
    },
    /// The name of a device behind another one cannot be one.
    #[error("a device behind a gateway or a network server has a name of 1 to {NAME_CHARS_MAX} characters")]
    InvalidChildName,
    /// The gateway has as many devices as it may.
    #[error("a gateway may have {GATEWAY_DEVICES_MAX} devices behind it")]
    TooManyChildren,
    /// It speaks for itself as if it were behind itself.
    #[error("a gateway is not behind itself: it has the topics of a device for what it says of its own")]
    OwnName,
    /// The profile of a new device cannot be one.
    #[error("the profile ('type') of a new device has a name of 1 to {NAME_CHARS_MAX} characters")]
    InvalidProfileName,
    /// There are as many profiles as gateways may make.
    #[error("no profile has this name, and there are {GATEWAY_PROFILES_MAX} already: make it over REST")]
    TooManyProfiles,
    /// There are as many devices as there may be.
    #[error("there may be {0} devices ('devices_max')")]
    TooManyDevices(usize),
    /// A network server speaks for a device that is not here and may not be made.
    #[error(
        "no device is named '{device}', and the connection may bring {create_max} into being \
         ('carriedDevicesMax' of its profile)"
    )]
    NotCarried {
        /// For whom.
        device: String,
        /// How many may be made.
        create_max: usize,
    },
    /// The device of this name is another one.
    #[error(
        "the device '{device}' has the DevEUI {dev_eui} ('devEui' of its additional info), not the envelope's"
    )]
    OtherDevEui {
        /// Whose name it is.
        device: String,
        /// The one it has.
        dev_eui: String,
    },
    /// A key is blank or too long.
    #[error("a key has 1 to {KEY_CHARS_MAX} characters and is not blank")]
    InvalidKey,
    /// More attributes than a device may have.
    #[error("a device may have {ATTRIBUTES_PER_SCOPE_MAX} attributes in one scope")]
    TooManyAttributes,
    /// The secret of a claim is too long.
    #[error("the secret of a claim has at most {SECRET_BYTES_MAX} bytes")]
    SecretTooLong,
    /// A kind of message that is not served.
    #[error("{0} are not served")]
    Unsupported(&'static str),
    /// The device was deleted while its message was on the way.
    #[error("the device was deleted")]
    Deleted,
    /// The store did not keep it: the device has to send it again.
    #[error("the message could not be stored")]
    NotStored(#[from] CommitError),
    /// The operating system gave no random bytes for the credentials of a new device.
    #[error("no secret could be made: {0}")]
    NoSecret(String),
}

impl AcceptError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            AcceptError::InvalidChildName
            | AcceptError::OwnName
            | AcceptError::InvalidProfileName
            | AcceptError::NotCarried { .. }
            | AcceptError::OtherDevEui { .. }
            | AcceptError::InvalidKey
            | AcceptError::SecretTooLong
            | AcceptError::Unsupported(_) => Fault::Device,
            AcceptError::NotGateway { .. } | AcceptError::Deleted => Fault::Denied,
            AcceptError::TooManyChildren
            | AcceptError::TooManyProfiles
            | AcceptError::TooManyDevices(_)
            | AcceptError::TooManyAttributes => Fault::Quota,
            AcceptError::NotStored(error) => error.fault(),
            AcceptError::NoSecret(_) => Fault::Host,
        }
    }
}

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read.
    #[error("the registry could not be read")]
    NotRead(#[from] ReadError),
    /// The records do not fit together.
    #[error("the registry is damaged: {0}")]
    Damaged(String),
    /// The first records could not be made.
    #[error("the first administrator and profile could not be made")]
    FirstStart(#[from] DeviceError),
}
