//! `status_codes!`: an integer enum of status codes.

/// Makes an enum of status codes that maps to an integer column.
///
/// `enum Name: i32` (or `i16`, `i64`) maps to an `Integer` (`SmallInt`,
/// `BigInt`) column; `i32` may be left out. The enum is `Copy`, `Eq`, `Hash`
/// and `Debug`, shows its name by `Display`, converts into its integer and
/// `i64`, and back by `TryFrom`. A code that the enum does not know is an
/// error where it is read, [`UnknownCode`](crate::UnknownCode), no panic.
///
/// For text columns `diesel-enum`, and for PostgreSQL's enums
/// `diesel-derive-enum`, serve as well: any `Copy + PartialEq + Debug` type
/// that Diesel maps to the column will do.
///
/// ```
/// diesel_status_tracker::status_codes! {
///     /// How far an invoice is.
///     pub enum Status {
///         /// To be sent.
///         Pending = 10,
///         InProgress = 20,
///         Failed = 30,
///         Succeeded = 40,
///         Ignored = 50,
///     }
/// }
/// # fn main() {
/// assert_eq!(Status::Failed.to_string(), "Failed");
/// assert_eq!(i32::from(Status::Failed), 30);
/// assert_eq!(Status::try_from(30), Ok(Status::Failed));
/// assert_eq!(
///     Status::try_from(31).unwrap_err().to_string(),
///     "31 is no code of `Status`, which knows 10 (Pending), 20 (InProgress), 30 (Failed), 40 (Succeeded), 50 (Ignored)",
/// );
/// # }
/// ```
#[macro_export]
macro_rules! status_codes {
    ($(#[$meta:meta])* $vis:vis enum $Name:ident $(: i32)? { $($(#[$code_meta:meta])* $Code:ident = $number:literal),+ $(,)? }) => {
        $crate::__status_codes! { [$(#[$meta])*] $vis $Name i32 Integer { $([$(#[$code_meta])*] $Code $number)+ } }
    };
    ($(#[$meta:meta])* $vis:vis enum $Name:ident : i16 { $($(#[$code_meta:meta])* $Code:ident = $number:literal),+ $(,)? }) => {
        $crate::__status_codes! { [$(#[$meta])*] $vis $Name i16 SmallInt { $([$(#[$code_meta])*] $Code $number)+ } }
    };
    ($(#[$meta:meta])* $vis:vis enum $Name:ident : i64 { $($(#[$code_meta:meta])* $Code:ident = $number:literal),+ $(,)? }) => {
        $crate::__status_codes! { [$(#[$meta])*] $vis $Name i64 BigInt { $([$(#[$code_meta])*] $Code $number)+ } }
    };
}

/// The enum and its impls.
#[doc(hidden)]
#[macro_export]
macro_rules! __status_codes {
    ([$($meta:tt)*] $vis:vis $Name:ident $Int:ident $Sql:ident { $([$($code_meta:tt)*] $Code:ident $number:literal)+ }) => {
        $($meta)*
        #[derive(
            ::core::fmt::Debug, ::core::clone::Clone, ::core::marker::Copy, ::core::cmp::PartialEq, ::core::cmp::Eq, ::core::hash::Hash,
            $crate::__private::diesel::expression::AsExpression, $crate::__private::diesel::deserialize::FromSqlRow,
        )]
        #[diesel(sql_type = $crate::__private::diesel::sql_types::$Sql)]
        #[repr($Int)]
        #[allow(missing_docs)]
        $vis enum $Name {
            $($($code_meta)* $Code = $number,)+
        }

        impl ::core::fmt::Display for $Name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(match self { $(Self::$Code => ::core::stringify!($Code),)+ })
            }
        }

        impl ::core::convert::From<$Name> for $Int {
            fn from(code: $Name) -> $Int {
                match code { $($Name::$Code => $number,)+ }
            }
        }

        $crate::__status_codes! { @into_i64 $Int $Name }

        impl ::core::convert::TryFrom<$Int> for $Name {
            type Error = $crate::UnknownCode;

            fn try_from(code: $Int) -> ::core::result::Result<Self, $crate::UnknownCode> {
                match code {
                    $($number => ::core::result::Result::Ok(Self::$Code),)+
                    _ => ::core::result::Result::Err($crate::UnknownCode::new(
                        code.into(),
                        ::core::stringify!($Name),
                        &[$(($number, ::core::stringify!($Code))),+],
                    )),
                }
            }
        }

        impl<DB> $crate::__private::diesel::serialize::ToSql<$crate::__private::diesel::sql_types::$Sql, DB> for $Name
        where
            DB: $crate::__private::diesel::backend::Backend,
            $Int: $crate::__private::diesel::serialize::ToSql<$crate::__private::diesel::sql_types::$Sql, DB>,
        {
            fn to_sql<'b>(
                &'b self,
                out: &mut $crate::__private::diesel::serialize::Output<'b, '_, DB>,
            ) -> $crate::__private::diesel::serialize::Result {
                let number: &'static $Int = match self { $(Self::$Code => &$number,)+ };
                $crate::__private::diesel::serialize::ToSql::to_sql(number, out)
            }
        }

        impl<DB> $crate::__private::diesel::deserialize::FromSql<$crate::__private::diesel::sql_types::$Sql, DB> for $Name
        where
            DB: $crate::__private::diesel::backend::Backend,
            $Int: $crate::__private::diesel::deserialize::FromSql<$crate::__private::diesel::sql_types::$Sql, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> $crate::__private::diesel::deserialize::Result<Self> {
                let code = <$Int as $crate::__private::diesel::deserialize::FromSql<_, DB>>::from_sql(bytes)?;
                ::core::result::Result::Ok(Self::try_from(code)?)
            }
        }
    };
    (@into_i64 i64 $Name:ident) => {};
    (@into_i64 $Int:ident $Name:ident) => {
        impl ::core::convert::From<$Name> for ::core::primitive::i64 {
            fn from(code: $Name) -> Self {
                $Int::from(code).into()
            }
        }
    };
}

/// A number that is none of the codes of an enum made by
/// [`status_codes!`](crate::status_codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code} is no code of `{of}`, which knows {}", list(known))]
#[non_exhaustive]
pub struct UnknownCode {
    /// The number.
    pub code: i64,
    /// The enum's name.
    pub of: &'static str,
    /// The enum's codes and their names.
    pub known: &'static [(i64, &'static str)],
}

impl UnknownCode {
    /// `code` is none of the `known` codes of the enum named `of`.
    #[must_use]
    pub const fn new(code: i64, of: &'static str, known: &'static [(i64, &'static str)]) -> Self {
        Self { code, of, known }
    }
}

fn list(known: &[(i64, &str)]) -> String {
    known
        .iter()
        .map(|(code, name)| format!("{code} ({name})"))
        .collect::<Vec<_>>()
        .join(", ")
}
