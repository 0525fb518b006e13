/** Faults of the operating system, by their code. */

export function isErrno(fault: unknown, code: string): boolean {
  return typeof fault === 'object' && fault !== null && 'code' in fault && fault.code === code;
}

/** Undefined for a file that is not there. Any other trouble proves nothing, and is thrown. */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (fault) {
    if (isErrno(fault, 'ENOENT')) return undefined;
    throw fault;
  }
}
