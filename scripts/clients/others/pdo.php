<?php
// PHP's PDO: what came of each step is a JSON object a line. See run.py for the variables.
$table = getenv('STORY_TABLE');

class Limit extends Exception {}

function connect(): PDO {
    [$host, $port, $ca, $token] = array_map('getenv', ['DSQL_ENDPOINT', 'DSQL_PORT', 'DSQL_CA_FILE', 'STORY_TOKEN']);
    // snippet
    $dsn = "pgsql:host=$host;port=$port;dbname=postgres;sslmode=verify-full;sslrootcert=$ca";
    // Otherwise it sends DEALLOCATE, which DSQL refuses: the transaction is lost, and commit() returns true.
    $session = new PDO($dsn, 'admin', $token, [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]);
    // end
    return $session;
}

function same(mixed $found, mixed $expected): void {
    if ($found !== $expected) throw new Exception(var_export($found, true) . ', not ' . var_export($expected, true));
}

function step(string $name, callable $does): void {
    $held = true;
    try {
        $note = $does();
    } catch (Limit $limit) {
        [$held, $note] = [null, $limit->getMessage()];
    } catch (Throwable $error) {
        [$held, $note] = [false, preg_replace('/\s+/', ' ', get_class($error) . ': ' . $error->getMessage())];
    }
    echo json_encode(['step' => $name, 'held' => $held, 'note' => $note], JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES), "\n";
}

function one(PDO $on, string $sql, array $parameters = []): mixed {
    $statement = $on->prepare($sql);
    $statement->execute($parameters);
    return $statement->columnCount() ? $statement->fetch(PDO::FETCH_ASSOC) : null;
}

$id = sprintf('%s-%s-4%s-8%s-%s', ...array_map(fn ($n) => bin2hex(random_bytes($n)), [4, 2, 1, 1, 6]));
$id = preg_replace('/-4(..)-8(..)-/', '-4${1}0-8${2}0-', $id);
$session = null;

step('connect', function () use (&$session) {
    $session = connect();
    same(one($session, 'SELECT current_user::text AS who'), ['who' => 'admin']);
});
step('ddl', function () use (&$session) {
    $session->exec(getenv('STORY_CREATE'));
    $job = $session->query(getenv('STORY_INDEX'))->fetchColumn();
    one($session, 'CALL sys.wait_for_job(?)', [$job]);
});
step('catalogue', function () use (&$session, $table) {
    $statement = $session->query("SELECT * FROM $table");
    same($statement->getColumnMeta(4)['native_type'], 'numeric');
    same($statement->getColumnMeta(0)['table'], $table);
    return '`getColumnMeta`';
});
step('types', function () use (&$session, $table, $id) {
    $sql = "INSERT INTO $table (id, t, i, b, n, f, at, j, raw, nothing) VALUES (:id, :t, :i, :b, :n, :f, :at, :j, :raw, :nothing)";
    $insert = $session->prepare($sql);
    $at = '2026-11-30 12:34:56.789012+00';
    $texts = ['id' => $id, 't' => 'naïve ✓', 'n' => '1234567.8900', 'at' => $at, 'j' => '{"a": [1, null]}'];
    foreach ($texts as $name => $value) $insert->bindValue($name, $value);
    $insert->bindValue('i', -5, PDO::PARAM_INT);
    $insert->bindValue('b', 9007199254740993, PDO::PARAM_INT);
    $insert->bindValue('f', true, PDO::PARAM_BOOL);
    $insert->bindValue('raw', "\0\xff\\", PDO::PARAM_LOB);
    $insert->bindValue('nothing', null, PDO::PARAM_NULL);
    $insert->execute();
    $found = one($session, "SELECT * FROM $table WHERE id = ?", [$id]);
    same(stream_get_contents($found['raw']), "\0\xff\\");
    unset($found['raw']);
    same($found, [
        'id' => $id, 't' => 'naïve ✓', 'i' => -5, 'b' => 9007199254740993, 'n' => '1234567.8900', 'f' => true, 'at' => $at,
        'j' => '{"a": [1, null]}', 'nothing' => null,
    ]);
    $session->pgsqlCopyFromArray($table, ["copied"], "\t", '\\N', 't');
    return '`PARAM_LOB`, `pgsqlCopyFromArray`';
});
step('array', fn () => same(one($session, "SELECT count(*) AS n FROM $table WHERE i = ANY(?::int[])", ['{-5,7}']), ['n' => 1]));
step('conflict', function () use (&$session, $table, $id) {
    $add = "UPDATE $table SET i = i + ? WHERE id = ?";
    $writer = connect();
    foreach ([1, 2] as $attempt) {
        try {
            $writer->beginTransaction();
            one($writer, $add, [1, $id]);
            if ($attempt === 1) one($session, $add, [10, $id]);
            $writer->commit();
            same($attempt, 2);
        } catch (PDOException $lost) {
            same([$lost->errorInfo[0], $attempt], ['40001', 1]);
            if ($writer->inTransaction()) $writer->rollBack();
        }
    }
    same(one($session, "SELECT i FROM $table WHERE id = ?", [$id]), ['i' => 6]);
});
step('cancel', fn () => throw new Limit('PDO has none'));
step('error', function () use (&$session, $table, $id) {
    try {
        one($session, "INSERT INTO $table (id) VALUES (?)", [$id]);
    } catch (PDOException $violation) {
        return same($violation->errorInfo[0], '23505');
    }
    throw new Exception('no error');
});
