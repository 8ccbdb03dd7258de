//! What each database tells of a table: its columns, its key and its indexes.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel_status_tracker::InnerConnection;

/// The table that a name stands for.
#[derive(Debug, QueryableByName)]
pub(crate) struct TableRow {
    #[diesel(sql_type = Text)]
    pub schema: String,
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Whether the schema need not be named.
    #[diesel(sql_type = Bool)]
    pub is_in_path: bool,
}

/// One column, in the order of the table.
#[derive(Debug, QueryableByName)]
pub(crate) struct ColumnRow {
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = Text)]
    pub type_name: String,
    #[diesel(sql_type = Bool)]
    pub is_nullable: bool,
    #[diesel(sql_type = Nullable<Text>)]
    pub default_value: Option<String>,
    /// Whether the database counts.
    #[diesel(sql_type = Bool)]
    pub is_counted: bool,
    /// Whether the database computes it from other columns.
    #[diesel(sql_type = Bool)]
    pub is_computed: bool,
    /// Where the type is an enum of PostgreSQL: its labels, one a line.
    #[diesel(sql_type = Nullable<Text>)]
    pub labels: Option<String>,
    /// Whether it holds JSON only, though its type is a text.
    #[diesel(sql_type = Bool)]
    pub is_json: bool,
    /// The place in the key, from 1; 0 where it is no part of the key.
    #[diesel(sql_type = BigInt)]
    pub key_place: i64,
}

/// One column of one index, in order.
#[derive(Debug, QueryableByName)]
pub(crate) struct IndexRow {
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = Bool)]
    pub is_unique: bool,
    #[diesel(sql_type = Bool)]
    pub is_valid: bool,
    /// The name of the column, or an expression; NULL where the database does not tell it.
    #[diesel(sql_type = Nullable<Text>)]
    pub term: Option<String>,
    #[diesel(sql_type = Bool)]
    pub is_descending: bool,
    /// The condition of a partial index; on SQLite the whole definition.
    #[diesel(sql_type = Nullable<Text>)]
    pub condition: Option<String>,
}

/// What the texts of one database are.
struct Texts {
    /// With the schema or NULL, and the table.
    table: &'static str,
    /// With the schema and the table as the first answered.
    columns: &'static str,
    /// The same.
    indexes: &'static str,
}

const POSTGRES: Texts = Texts {
    table: "SELECT CAST(n.nspname AS text) AS schema, CAST(c.relname AS text) AS name, \
            pg_table_is_visible(c.oid) AS is_in_path \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p', 'f') AND c.relname = $2 \
            AND (n.nspname = $1 OR ($1 IS NULL AND pg_table_is_visible(c.oid)))",
    columns: "SELECT CAST(a.attname AS text) AS name, format_type(a.atttypid, a.atttypmod) AS type_name, \
            NOT a.attnotnull AS is_nullable, \
            CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_value, \
            a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false) AS is_counted, \
            a.attgenerated <> '' AS is_computed, \
            (SELECT string_agg(e.enumlabel, chr(10) ORDER BY e.enumsortorder) FROM pg_enum e \
                WHERE e.enumtypid = a.atttypid) AS labels, \
            false AS is_json, \
            CAST(coalesce(array_position(CAST(CAST(k.indkey AS text[]) AS text[]), CAST(a.attnum AS text)), 0) AS bigint) AS key_place \
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
        LEFT JOIN (SELECT indrelid, string_to_array(CAST(indkey AS text), ' ') AS indkey \
            FROM pg_index WHERE indisprimary) k ON k.indrelid = c.oid \
        WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    indexes: "SELECT CAST(i.relname AS text) AS name, x.indisunique AS is_unique, x.indisvalid AS is_valid, \
            coalesce(CAST(a.attname AS text), pg_get_indexdef(x.indexrelid, place, true)) AS term, \
            x.indoption[place - 1] & 1 = 1 AS is_descending, \
            pg_get_expr(x.indpred, x.indrelid, true) AS condition \
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid \
        JOIN pg_namespace n ON n.oid = c.relnamespace \
        CROSS JOIN LATERAL generate_series(1, CAST(x.indnkeyatts AS integer)) AS place \
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[place - 1] AND a.attnum > 0 \
        WHERE n.nspname = $1 AND c.relname = $2 ORDER BY i.relname, place",
};

const MYSQL: Texts = Texts {
    table: "SELECT table_schema AS `schema`, table_name AS name, table_schema = database() AS is_in_path \
        FROM information_schema.tables \
        WHERE table_type = 'BASE TABLE' AND table_schema = coalesce(?, database()) AND table_name = ?",
    columns: "SELECT c.column_name AS name, c.column_type AS type_name, c.is_nullable = 'YES' AS is_nullable, \
            c.column_default AS default_value, c.extra LIKE '%auto_increment%' AS is_counted, \
            coalesce(c.generation_expression, '') <> '' AS is_computed, NULL AS labels, FALSE AS is_json, \
            CAST(coalesce(k.ordinal_position, 0) AS signed) AS key_place \
        FROM information_schema.columns c LEFT JOIN information_schema.key_column_usage k \
            ON k.constraint_name = 'PRIMARY' AND k.table_schema = c.table_schema \
            AND k.table_name = c.table_name AND k.column_name = c.column_name \
        WHERE c.table_schema = ? AND c.table_name = ? ORDER BY c.ordinal_position",
    indexes: "SELECT index_name AS name, non_unique = 0 AS is_unique, TRUE AS is_valid, column_name AS term, \
            coalesce(collation = 'D', FALSE) AS is_descending, NULL AS `condition` \
        FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? \
        ORDER BY index_name, seq_in_index",
};

/// MariaDB's JSON is a text with a check.
const MARIADB_JSON: &str = "SELECT c.column_name AS name FROM information_schema.columns c \
    JOIN information_schema.check_constraints k ON k.constraint_schema = c.table_schema AND k.table_name = c.table_name \
        AND k.check_clause = concat('json_valid(`', replace(c.column_name, '`', '``'), '`)') \
    WHERE c.table_schema = ? AND c.table_name = ?";

const SQLITE: Texts = Texts {
    table: "SELECT schema, name, schema = 'main' AS is_in_path FROM pragma_table_list \
        WHERE type IN ('table', 'virtual') AND schema = coalesce(?1, 'main') AND name = ?2 COLLATE NOCASE",
    columns: "SELECT name, type AS type_name, \
            NOT \"notnull\" AND NOT (pk AND (SELECT wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2)) \
                AND NOT (pk AND upper(type) = 'INTEGER' AND (SELECT max(pk) FROM pragma_table_info(?2, ?1)) = 1) AS is_nullable, \
            dflt_value AS default_value, \
            pk AND upper(type) = 'INTEGER' AND (SELECT max(pk) FROM pragma_table_info(?2, ?1)) = 1 \
                AND NOT (SELECT wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2) AS is_counted, \
            hidden IN (2, 3) AS is_computed, NULL AS labels, 0 AS is_json, CAST(pk AS bigint) AS key_place \
        FROM pragma_table_xinfo(?2, ?1) WHERE hidden <> 1 ORDER BY cid",
    // The schema's own list of definitions has to be named in the text.
    indexes: "SELECT l.name, l.\"unique\" AS is_unique, 1 AS is_valid, x.name AS term, x.desc AS is_descending, \
            CASE WHEN l.partial THEN (SELECT sql FROM :schema.sqlite_schema WHERE type = 'index' AND name = l.name) END AS condition \
        FROM pragma_index_list(?2, ?1) l JOIN pragma_index_xinfo(l.name, ?1) x ON x.key \
        ORDER BY l.name, x.seqno",
};

/// A name.
#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

/// What the database says of the table, as it says it.
pub(crate) struct Answers {
    pub table: TableRow,
    pub columns: Vec<ColumnRow>,
    pub indexes: Vec<IndexRow>,
}

/// Asks one connection. The texts are those of its database.
macro_rules! ask {
    ($conn:expr, $texts:expr, $schema:expr, $table:expr) => {{
        let table = diesel::sql_query($texts.table)
            .bind::<Nullable<Text>, _>($schema)
            .bind::<Text, _>($table)
            .get_result::<TableRow>(&mut **$conn)
            .optional()?;
        let Some(table) = table else { return Ok(None) };
        let columns = diesel::sql_query($texts.columns)
            .bind::<Text, _>(&table.schema)
            .bind::<Text, _>(&table.name)
            .load::<ColumnRow>(&mut **$conn)?;
        let quoted = format!("\"{}\"", table.schema.replace('"', "\"\""));
        let indexes = diesel::sql_query($texts.indexes.replace(":schema", &quoted))
            .bind::<Text, _>(&table.schema)
            .bind::<Text, _>(&table.name)
            .load::<IndexRow>(&mut **$conn)?;
        Answers {
            table,
            columns,
            indexes,
        }
    }};
}

/// What the database says of this table; `None` where it has none of the name.
pub(crate) fn table(
    conn: &mut InnerConnection<'_>,
    schema: Option<&str>,
    table: &str,
) -> QueryResult<Option<Answers>> {
    let answers = match conn {
        // Another session may have locked the table.
        InnerConnection::Postgres(conn) => {
            return conn.transaction(|mut conn| {
                conn.batch_execute("SET LOCAL statement_timeout = '5s'")?;
                Ok(Some(ask!(&mut conn, POSTGRES, schema, table)))
            });
        }
        InnerConnection::Sqlite(conn) => ask!(conn, SQLITE, schema, table),
        InnerConnection::Mysql(conn) => {
            let mut answers = ask!(conn, MYSQL, schema, table);
            if is_mariadb(conn)? {
                let json = diesel::sql_query(MARIADB_JSON)
                    .bind::<Text, _>(&answers.table.schema)
                    .bind::<Text, _>(&answers.table.name)
                    .load::<Named>(&mut **conn)?;
                for column in &mut answers.columns {
                    column.is_json = json.iter().any(|json| json.name == column.name);
                }
            }
            answers
        }
        _ => return Ok(None),
    };
    Ok(Some(answers))
}

fn is_mariadb(conn: &mut MysqlConnection) -> QueryResult<bool> {
    let version = diesel::sql_query("SELECT version() AS name").get_result::<Named>(conn)?;
    Ok(version.name.contains("MariaDB"))
}
