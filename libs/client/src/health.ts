/** Asks a server whether it takes calls (grpc.health.v1, the standard health service). */
import { type Clients, type MessageOf, NephosError } from '@nephos/service';

/** The two messages are coded by hand: their contract lies outside of ours and never changes. */
const request = {
  $type: 'grpc.health.v1.HealthCheckRequest',
  encode: () => ({ finish: () => new Uint8Array() }),
  decode: () => ({}),
  fromPartial: () => ({}),
};

/** HealthCheckResponse: `ServingStatus status = 1`; SERVING is 1. */
const response = {
  $type: 'grpc.health.v1.HealthCheckResponse',
  encode: () => ({ finish: () => new Uint8Array() }),
  decode: (bytes: Uint8Array) => ({ serving: bytes[0] === 8 && bytes[1] === 1 }),
  fromPartial: ({ serving = false }: { readonly serving?: boolean | undefined }) => ({ serving }),
};

const contract = {
  name: 'Health',
  fullName: 'grpc.health.v1.Health',
  methods: {
    check: {
      name: 'Check',
      requestType: request,
      requestStream: false,
      responseType: response,
      responseStream: false,
    },
  },
} as const;

/** True when the server at `address` says that it is serving; false as long as it cannot be reached. */
export async function isServing(clients: Clients, address: string): Promise<boolean> {
  try {
    const options = { deadlineMs: 1000, waitForReady: true };
    const answer: MessageOf<typeof response> = await clients.of(contract, address).check({}, options);
    return answer.serving;
  } catch (error) {
    if (error instanceof NephosError) return false;
    throw error;
  }
}
