/** The contract for bare grpc-js, with the codecs that ts-proto generated: the same bytes as ours. */
import { ErrorInfo } from '@nephos/proto/google/rpc/error_details';
import { EchoDefinition } from './echo.ts';

const encode = (value: ErrorInfo): Buffer => Buffer.from(ErrorInfo.encode(value).finish());
const decode = (bytes: Buffer): ErrorInfo => ErrorInfo.decode(bytes);

function bare<
  M extends { readonly name: string; readonly requestStream: boolean; readonly responseStream: boolean },
>(method: M) {
  const { name, requestStream, responseStream } = method;
  return {
    path: `/${EchoDefinition.fullName}/${name}`,
    requestStream: requestStream as M['requestStream'],
    responseStream: responseStream as M['responseStream'],
    requestSerialize: encode,
    requestDeserialize: decode,
    responseSerialize: encode,
    responseDeserialize: decode,
  };
}

const { say, count, chat } = EchoDefinition.methods;

export const bareEcho = { say: bare(say), count: bare(count), chat: bare(chat) };
