// SPDX-License-Identifier: Apache-2.0

// Command protogen generates the Go code of the .proto files in a folder. It uses protoc-gen-go as a library and a
// compiler in Go, so it does not need protoc:
//
//	protogen -proto internal/teamtalk/wire/proto -out internal/teamtalk/wire
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	in := flag.String("proto", "", "folder of the .proto files")
	out := flag.String("out", "", "folder for the .pb.go files")
	flag.Parse()
	if err := run(context.Background(), *in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in, out string) error {
	paths, err := filepath.Glob(filepath.Join(in, "*.proto"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("no .proto files in %q", in)
	}
	request := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("paths=source_relative")}
	for _, p := range paths {
		request.FileToGenerate = append(request.FileToGenerate, filepath.Base(p))
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{in}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments go into the code
	}
	files, err := compiler.Compile(ctx, request.FileToGenerate...)
	if err != nil {
		return err
	}
	added := map[string]bool{}
	for _, f := range files {
		request.ProtoFile = appendFile(request.ProtoFile, added, f)
	}
	plugin, err := protogen.Options{}.New(request)
	if err != nil {
		return err
	}
	for _, f := range plugin.Files {
		if f.Generate {
			gengo.GenerateFile(plugin, f)
		}
	}
	response := plugin.Response()
	if response.Error != nil {
		return fmt.Errorf("generate: %s", response.GetError())
	}
	for _, f := range response.File {
		if err := os.WriteFile(filepath.Join(out, f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// appendFile appends f to to after its imports, each file once.
func appendFile(
	to []*descriptorpb.FileDescriptorProto, added map[string]bool, f linker.File,
) []*descriptorpb.FileDescriptorProto {
	if added[f.Path()] {
		return to
	}
	added[f.Path()] = true
	for i := range f.Imports().Len() {
		to = appendFile(to, added, f.FindImportByPath(f.Imports().Get(i).Path()))
	}
	return append(to, protoutil.ProtoFromFileDescriptor(f))
}
