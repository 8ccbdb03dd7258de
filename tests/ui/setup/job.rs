#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    status: i32,
}
