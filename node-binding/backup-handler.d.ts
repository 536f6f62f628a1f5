/** A function's entry point: one backup a call. Answers 200 or 500 and never rejects. */
export function handler(
  event?: unknown,
  context?: { getRemainingTimeInMillis?: () => number },
): Promise<{ statusCode: number; headers: Record<string, string>; body: string }>
