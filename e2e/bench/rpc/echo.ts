/** The contract that is called on both sides, of messages that exist anyway, and what is sent. */
import { ErrorInfo } from '@nephos/proto/google/rpc/error_details';

const say = {
  requestType: ErrorInfo,
  requestStream: false,
  responseType: ErrorInfo,
  responseStream: false,
} as const;

export const EchoDefinition = {
  name: 'Echo',
  fullName: 'nephos.bench.v1.Echo',
  methods: {
    say: { ...say, name: 'Say' },
    count: { ...say, name: 'Count', responseStream: true },
    chat: { ...say, name: 'Chat', requestStream: true, responseStream: true },
  },
} as const;

export const message: ErrorInfo = {
  reason: 'a reason',
  domain: 'nephos.dev',
  metadata: { zone: 'z1', host: 'h1' },
};

/** The same message asking Count for so many answers. */
export function asking(answers: number): ErrorInfo {
  return { ...message, reason: String(answers) };
}
