// Prepared statements, kept by their text; rows come as arrays, in the order of the columns selected.
// Owner: the SQLite adapter (worker thread). The texts are few: they depend on names and shapes, not on values.
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';

export type ResultRow = readonly SQLOutputValue[];

export class Statements {
  readonly #db: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  get(sql: string, values: readonly SQLInputValue[]): ResultRow | undefined {
    return this.#statement(sql).get(...values) as unknown as ResultRow | undefined;
  }

  all(sql: string, values: readonly SQLInputValue[]): ResultRow[] {
    return this.#statement(sql).all(...values) as unknown as ResultRow[];
  }

  /** Returns how many rows changed. */
  run(sql: string, values: readonly SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }

  /** To be called when tables change, since texts may then stand for other columns. */
  forget(): void {
    this.#prepared.clear();
  }

  #statement(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(sql);
    statement.setReturnArrays(true);
    this.#prepared.set(sql, statement);
    return statement;
  }
}
