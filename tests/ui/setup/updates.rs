#[derive(Default, diesel::Insertable, diesel::AsChangeset)]
#[diesel(table_name = jobs)]
struct JobUpdates {
    data: Option<String>,
}
