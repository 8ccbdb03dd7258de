//! The tables.

/// The post's.
pub(crate) mod post {
    diesel::table! {
        parcels (depot, barcode) {
            depot -> Integer,
            barcode -> Text,
            phase -> Text,
            handed_in -> TimestamptzSqlite,
            last_seen -> Timestamp,
            courier -> Nullable<Text>,
            courier_since -> Timestamp,
            rounds -> BigInt,
            remarks -> Nullable<Text>,
            not_before -> Nullable<TimestamptzSqlite>,
            express -> Bool,
            signed_by -> Nullable<Text>,
        }
    }
}
