"""Finds a service in the Nephos directory from Python, without any code of Nephos: plain gRPC and reflection.

    pip install grpcio grpcio-reflection
    python find.py 127.0.0.1:7401 orchestrator            # who takes calls now
    python find.py 127.0.0.1:7401 orchestrator --watch    # and who comes, changes and goes

Prints a JSON line a message. The protocol: the list first; then only changes, each with the version before plus one
(on a gap: watch anew); a heartbeat at least each interval (after three without: watch anew); `drain` when this
directory stops: watch another, and keep the list meanwhile.
"""
import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "nephos.directory.v1.DirectoryService"


def calls(channel):
    """One function a method of the contract, as the server itself describes it."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    found = {}
    for method in pool.FindServiceByName(SERVICE).methods:
        request, response = (message_factory.GetMessageClass(t) for t in (method.input_type, method.output_type))
        make = channel.unary_stream if method.name == "WatchInstances" else channel.unary_unary
        call = make(f"/{SERVICE}/{method.name}", request.SerializeToString, response.FromString)
        found[method.name] = lambda fields, call=call, request=request: call(json_format.ParseDict(fields, request()))
    return found


def say(message):
    print(json.dumps(json_format.MessageToDict(message)), flush=True)


def main(address, service, watch):
    with grpc.insecure_channel(address) as channel:
        directory = calls(channel)
        if not watch:
            say(directory["ListInstances"]({"filter": f'service = "{service}" AND health = "SERVING"'}))
            return
        for message in directory["WatchInstances"]({"selector": {"service": service}, "changes": True}):
            say(message)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--watch" in sys.argv)
