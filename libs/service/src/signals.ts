/** Abort signals: watched for as long as something runs, and let go of after. */

/** Calls `react` when one of the signals aborts, also if one has already. Disposing stops the watch. */
export function onAbort(signals: readonly AbortSignal[], react: () => void): Disposable {
  for (const signal of signals) {
    if (signal.aborted) react();
    else signal.addEventListener('abort', react, { once: true });
  }
  return {
    [Symbol.dispose]() {
      for (const signal of signals) signal.removeEventListener('abort', react);
    },
  };
}
