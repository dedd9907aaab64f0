// Moves 10 from one account to the other in a transaction that decides by what it read, and does it again while it lost
// to another one. `query(text, values)` runs in `session`'s transaction; `rival` is another session, which writes to the
// first account while the first attempt is open. How many attempts it took.
export async function transfer(transaction, rival) {
  for (let attempt = 1; ; attempt++) {
    try {
      await transaction(async (query) => {
        const [{ balance }] = await query('SELECT balance FROM accounts WHERE id = $1', ['a'])
        if (balance < 10) throw new Error('not enough')
        if (attempt === 1) await rival('UPDATE accounts SET balance = balance + 1 WHERE id = $1', ['a'])
        await query('UPDATE accounts SET balance = $2 WHERE id = $1', ['a', balance - 10])
        await query('UPDATE accounts SET balance = balance + 10 WHERE id = $1', ['b'])
      })
      return attempt
    } catch (error) {
      if (error.code !== '40001' || attempt === 5) throw error
    }
  }
}

// BEGIN, what is to be done, COMMIT; for clients whose sessions run statements one by one.
export const block = (query) => async (work) => {
  await query('BEGIN')
  try {
    await work(query)
    await query('COMMIT')
  } catch (error) {
    await query('ROLLBACK')
    throw error
  }
}
