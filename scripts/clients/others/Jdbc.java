// PostgreSQL's JDBC driver: what came of each step is a JSON object a line. See run.py for the variables.
import java.lang.reflect.Method;
import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.*;

public class Jdbc {
    static final Map<String, String> ENV = System.getenv();
    static final String TABLE = ENV.get("STORY_TABLE");
    static final UUID ID = UUID.randomUUID();
    static Connection session;

    interface Step { String run() throws Exception; }

    static class Limit extends Exception {
        Limit(String why) { super(why); }
    }

    static Connection connect() throws SQLException {
        String host = ENV.get("DSQL_ENDPOINT"), port = ENV.get("DSQL_PORT"), ca = ENV.get("DSQL_CA_FILE"), token = ENV.get("STORY_TOKEN");
        // snippet
        Properties properties = new Properties();
        properties.setProperty("user", "admin");
        properties.setProperty("password", token);
        properties.setProperty("sslmode", "verify-full");
        properties.setProperty("sslrootcert", ca);
        Connection connection = DriverManager.getConnection("jdbc:postgresql://" + host + ":" + port + "/postgres", properties);
        // end
        return connection;
    }

    static void same(Object found, Object expected) {
        if (!Objects.equals(found, expected)) throw new IllegalStateException(found + ", not " + expected);
    }

    static Object one(Connection on, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = on.prepareStatement(sql)) {
            for (int n = 0; n < parameters.length; n++) statement.setObject(n + 1, parameters[n]);
            if (!statement.execute()) return statement.getUpdateCount();
            try (ResultSet rows = statement.getResultSet()) { return rows.next() ? rows.getObject(1) : null; }
        }
    }

    static void step(String name, Step does) {
        String held = "true", note = null;
        try {
            note = does.run();
        } catch (Exception error) {
            held = error instanceof Limit ? "null" : "false";
            note = error instanceof Limit ? error.getMessage() : String.valueOf(error);
        }
        String text = note == null ? "null" : '"' + note.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\s+", " ") + '"';
        System.out.println("{\"step\": \"" + name + "\", \"held\": " + held + ", \"note\": " + text + "}");
    }

    /** Every method of DatabaseMetaData, with nothing said of what is looked for but the table. */
    static String catalogue() throws Exception {
        DatabaseMetaData data = session.getMetaData();
        int called = 0;
        List<String> failed = new ArrayList<>();
        for (Method method : DatabaseMetaData.class.getMethods()) {
            if (method.getDeclaringClass() != DatabaseMetaData.class) continue;
            Object[] given = new Object[method.getParameterCount()];
            for (int n = 0; n < given.length; n++) {
                Class<?> type = method.getParameterTypes()[n];
                given[n] = type == int.class ? 1 : type == boolean.class ? Boolean.FALSE : type == String.class && n == 2 ? TABLE : null;
            }
            try {
                Object result = method.invoke(data, given);
                if (result instanceof ResultSet) while (((ResultSet) result).next()) called += 0;
                called++;
            } catch (java.lang.reflect.InvocationTargetException error) {
                String state = ((SQLException) error.getCause()).getSQLState();
                // What the driver does not implement, or not without an argument, is no matter of the database.
                boolean lacking = error.getCause() instanceof SQLFeatureNotSupportedException;
                if (!lacking && state != null && !"22023".equals(state))
                    failed.add(method.getName() + ": " + error.getCause().getMessage());
            }
        }
        same(failed, List.of());
        try (ResultSet keys = data.getPrimaryKeys(null, "public", TABLE)) {
            keys.next();
            same(keys.getString("COLUMN_NAME"), "id");
        }
        return called + " methods of `DatabaseMetaData`";
    }

    static String types() throws Exception {
        OffsetDateTime at = OffsetDateTime.parse("2026-11-30T12:34:56.789012Z");
        byte[] raw = {0, -1, 92};
        String columns = " (id, t, i, b, n, f, at, j, raw, nothing) VALUES (?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?)";
        BigDecimal exact = new BigDecimal("1234567.8900");
        String json = "{\"a\": [1, null]}";
        one(session, "INSERT INTO " + TABLE + columns, ID, "naïve ✓", -5, 9007199254740993L, exact, true, at, json, raw, null);
        for (int repeat = 0; repeat < 7; repeat++) { // from the fifth on it is prepared on the server
            try (PreparedStatement select = session.prepareStatement("SELECT * FROM " + TABLE + " WHERE id = ?")) {
                select.setObject(1, ID);
                ResultSet row = select.executeQuery();
                row.next();
                same(row.getString("t"), "naïve ✓");
                same(row.getInt("i"), -5);
                same(row.getLong("b"), 9007199254740993L);
                same(row.getBigDecimal("n"), exact);
                same(row.getBoolean("f"), true);
                same(row.getObject("at", OffsetDateTime.class).toInstant(), at.toInstant());
                same(row.getString("j"), json);
                same(Arrays.equals(row.getBytes("raw"), raw), true);
                same(row.getString("nothing"), null);
            }
        }
        try (PreparedStatement batch = session.prepareStatement("INSERT INTO " + TABLE + " (t) VALUES (?)")) {
            for (int n = 0; n < 20; n++) {
                batch.setString(1, "" + n);
                batch.addBatch();
            }
            same(batch.executeBatch().length, 20);
        }
        return "batches and statements prepared on the server too";
    }

    static String conflict() throws Exception {
        String add = "UPDATE " + TABLE + " SET i = i + ? WHERE id = ?";
        try (Connection writer = connect()) {
            writer.setAutoCommit(false);
            for (int attempt = 1; attempt <= 2; attempt++) {
                one(writer, add, 1, ID);
                if (attempt == 1) one(session, add, 10, ID);
                try {
                    writer.commit();
                    same(attempt, 2);
                } catch (SQLException lost) {
                    same(lost.getSQLState(), "40001");
                    same(attempt, 1);
                    writer.rollback();
                }
            }
        }
        same(one(session, "SELECT i FROM " + TABLE + " WHERE id = ?", ID), 6);
        return null;
    }

    static String cancel() throws Exception {
        try (Connection victim = connect(); Statement statement = victim.createStatement()) {
            statement.setQueryTimeout(1);
            statement.execute("SELECT pg_sleep(3)");
        } catch (SQLException lost) {
            same(lost.getSQLState(), "57014");
            return null;
        }
        throw new Limit("`setQueryTimeout` sends a CancelRequest, which has no effect: `socketTimeout` instead");
    }

    public static void main(String[] arguments) {
        step("connect", () -> {
            session = connect();
            same(one(session, "SELECT current_user::text"), "admin");
            return null;
        });
        step("ddl", () -> {
            one(session, ENV.get("STORY_CREATE"));
            one(session, "CALL sys.wait_for_job('" + one(session, ENV.get("STORY_INDEX")) + "')");
            return null;
        });
        step("catalogue", Jdbc::catalogue);
        step("types", Jdbc::types);
        step("array", () -> {
            Array among = session.createArrayOf("int4", new Object[] {-5, 7});
            same(one(session, "SELECT count(*) FROM " + TABLE + " WHERE i = ANY(?)", among), 1L);
            return null;
        });
        step("conflict", Jdbc::conflict);
        step("cancel", Jdbc::cancel);
        step("error", () -> {
            try {
                one(session, "INSERT INTO " + TABLE + " (id) VALUES (?)", ID);
            } catch (SQLException violation) {
                same(violation.getSQLState(), "23505");
                return null;
            }
            throw new IllegalStateException("no error");
        });
    }
}
