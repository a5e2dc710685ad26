// Plays the table of blob cases with Go's azblob, which Dapr has inside, and prints what each step saw: the answers on
// the wire and what the SDK made of them.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

var (
	accountURL = os.Getenv("BLOB_ACCOUNT_URL")
	account    = os.Getenv("BLOB_ACCOUNT")
	key        = os.Getenv("BLOB_ACCOUNT_KEY")
	ctx        = context.Background()
	now        = time.Now().UTC()
	instants   = map[string]time.Time{"past": now.AddDate(0, 0, -1), "future": now.AddDate(0, 0, 1)}
)

type step struct {
	Op                string
	Blob              string
	Text              string
	Repeat            int
	Headers           map[string]string
	Metadata          json.RawMessage
	IfMatch           string `json:"if_match"`
	IfNoneMatch       string `json:"if_none_match"`
	IfModifiedSince   string `json:"if_modified_since"`
	IfUnmodifiedSince string `json:"if_unmodified_since"`
	Offset, Count     int64
	ID                string
	IDs               []string
	Kind              string
	Prefix            string
	Max               int32
	Uncommitted       bool
	Delimiter         string
	From              string
	Scope             string
	Permissions       string
}

type answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
}

// wire keeps status and headers of every answer.
type wire struct{ answers []answer }

func (w *wire) Do(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	for name, values := range response.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	w.answers = append(w.answers, answer{response.StatusCode, headers})
	return response, nil
}

type played struct {
	name      string
	wire      *wire
	key       *container.SharedKeyCredential
	container *container.Client
	tag       azcore.ETag
}

func (w *wire) options() policy.ClientOptions {
	return policy.ClientOptions{Transport: w, Retry: policy.RetryOptions{MaxRetries: -1}}
}

func newCase(name string) (*played, error) {
	w := &wire{}
	credential, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		return nil, err
	}
	options := &container.ClientOptions{ClientOptions: w.options()}
	client, err := container.NewClientWithSharedKeyCredential(accountURL+"/"+name, credential, options)
	if err != nil {
		return nil, err
	}
	if _, err := client.Create(ctx, nil); err != nil {
		return nil, err
	}
	return &played{name: name, wire: w, key: credential, container: client}, nil
}

func (p *played) conditions(s step) *blob.AccessConditions {
	found := &blob.ModifiedAccessConditions{}
	tag := func(text string) *azcore.ETag {
		value := azcore.ETag(text)
		if text == "" {
			return nil
		}
		if text == "last" {
			value = p.tag
		}
		return &value
	}
	instant := func(name string) *time.Time {
		if value, known := instants[name]; known {
			return &value
		}
		return nil
	}
	found.IfMatch, found.IfNoneMatch = tag(s.IfMatch), tag(s.IfNoneMatch)
	found.IfModifiedSince, found.IfUnmodifiedSince = instant(s.IfModifiedSince), instant(s.IfUnmodifiedSince)
	return &blob.AccessConditions{ModifiedAccessConditions: found}
}

func headers(s step) *blob.HTTPHeaders {
	value := func(name string) *string {
		if value, known := s.Headers[name]; known {
			return &value
		}
		return nil
	}
	return &blob.HTTPHeaders{
		BlobCacheControl:       value("cache_control"),
		BlobContentDisposition: value("content_disposition"),
		BlobContentEncoding:    value("content_encoding"),
		BlobContentLanguage:    value("content_language"),
		BlobContentType:        value("content_type"),
	}
}

func metadata(s step) map[string]*string {
	found := map[string]*string{}
	if json.Unmarshal(s.Metadata, &found) != nil {
		return nil
	}
	return found
}

func plain(metadata map[string]*string) map[string]string {
	found := map[string]string{}
	for name, value := range metadata {
		found[strings.ToLower(name)] = *value
	}
	return found
}

func shown(content []byte) any {
	if len(content) < 100 {
		return string(content)
	}
	digest := sha256.Sum256(content)
	return []any{len(content), hex.EncodeToString(digest[:])}
}

func (p *played) signed(s step) (*blockblob.Client, error) {
	values := sas.BlobSignatureValues{
		ContainerName: p.name, Permissions: s.Permissions, ExpiryTime: instants["future"], Protocol: sas.ProtocolHTTPSandHTTP,
	}
	if s.Scope == "blob" {
		values.BlobName = s.Blob
	}
	query, err := values.SignWithSharedKey(p.key)
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("%s/%s/%s?%s", accountURL, p.name, s.Blob, query.Encode())
	return blockblob.NewClientWithNoCredential(url, &blockblob.ClientOptions{ClientOptions: p.wire.options()})
}

func download(client *blockblob.Client, options *blob.DownloadStreamOptions) (any, error) {
	response, err := client.DownloadStream(ctx, options)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return shown(content), err
}

func (p *played) play(s step) (any, error) {
	name := s.Blob
	if name == "" {
		name = "unused"
	}
	client := p.container.NewBlockBlobClient(name)
	conditions := p.conditions(s)
	content := []byte(strings.Repeat(s.Text, max(s.Repeat, 1)))
	body := streaming.NopCloser(bytes.NewReader(content))
	switch s.Op {
	case "put":
		options := &blockblob.UploadOptions{HTTPHeaders: headers(s), Metadata: metadata(s), AccessConditions: conditions}
		response, err := client.Upload(ctx, body, options)
		if err == nil {
			p.tag = *response.ETag
		}
		return nil, err
	case "get":
		span := blob.HTTPRange{Offset: s.Offset, Count: s.Count}
		return download(client, &blob.DownloadStreamOptions{Range: span, AccessConditions: conditions})
	case "properties":
		response, err := client.GetProperties(ctx, &blob.GetPropertiesOptions{AccessConditions: conditions})
		return plain(response.Metadata), err
	case "set_metadata":
		_, err := client.SetMetadata(ctx, metadata(s), &blob.SetMetadataOptions{AccessConditions: conditions})
		return nil, err
	case "set_headers":
		_, err := client.SetHTTPHeaders(ctx, *headers(s), &blob.SetHTTPHeadersOptions{AccessConditions: conditions})
		return nil, err
	case "delete":
		_, err := client.Delete(ctx, &blob.DeleteOptions{AccessConditions: conditions})
		return nil, err
	case "stage":
		_, err := client.StageBlock(ctx, s.ID, body, nil)
		return nil, err
	case "commit":
		options := &blockblob.CommitBlockListOptions{HTTPHeaders: headers(s), Metadata: metadata(s)}
		_, err := client.CommitBlockList(ctx, s.IDs, options)
		return nil, err
	case "copy":
		_, err := client.StartCopyFromURL(ctx, fmt.Sprintf("%s/%s/%s", accountURL, p.name, s.From), nil)
		return nil, err
	case "sas_get", "sas_put":
		signed, err := p.signed(s)
		if err != nil {
			return nil, err
		}
		if s.Op == "sas_get" {
			return download(signed, nil)
		}
		_, err = signed.Upload(ctx, body, nil)
		return nil, err
	default:
		return p.playOnContainer(s, client)
	}
}

func (p *played) playOnContainer(s step, client *blockblob.Client) (any, error) {
	switch s.Op {
	case "blocks":
		response, err := client.GetBlockList(ctx, blockblob.BlockListType(s.Kind), nil)
		of := func(blocks []*blockblob.Block) []any {
			found := []any{}
			for _, block := range blocks {
				found = append(found, []any{*block.Name, *block.Size})
			}
			return found
		}
		return []any{of(response.CommittedBlocks), of(response.UncommittedBlocks)}, err
	case "list":
		return p.list(s)
	case "walk":
		found := []string{}
		pager := p.container.NewListBlobsHierarchyPager(s.Delimiter, &container.ListBlobsHierarchyOptions{Prefix: &s.Prefix})
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, prefix := range page.Segment.BlobPrefixes {
				found = append(found, "prefix:"+*prefix.Name)
			}
			for _, item := range page.Segment.BlobItems {
				found = append(found, "blob:"+*item.Name)
			}
		}
		sort.Strings(found)
		return found, nil
	case "create_container":
		_, err := p.container.Create(ctx, nil)
		return nil, err
	case "set_container_metadata":
		_, err := p.container.SetMetadata(ctx, &container.SetMetadataOptions{Metadata: metadata(s)})
		return nil, err
	case "container_properties":
		response, err := p.container.GetProperties(ctx, nil)
		return plain(response.Metadata), err
	case "delete_container":
		_, err := p.container.Delete(ctx, nil)
		return nil, err
	}
	return nil, fmt.Errorf("nobody knows the step %s", s.Op)
}

func (p *played) list(s step) (any, error) {
	options := &container.ListBlobsFlatOptions{Prefix: &s.Prefix}
	options.Include.Metadata, options.Include.UncommittedBlobs = string(s.Metadata) == "true", s.Uncommitted
	if s.Max > 0 {
		options.MaxResults = &s.Max
	}
	pages := [][]any{}
	for pager := p.container.NewListBlobsFlatPager(options); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		items := []any{}
		for _, item := range page.Segment.BlobItems {
			items = append(items, []any{*item.Name, *item.Properties.ContentLength, plain(item.Metadata)})
		}
		pages = append(pages, items)
	}
	return pages, nil
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var table []struct {
		Case  string
		Steps []step
	}
	if err := json.Unmarshal(text, &table); err != nil {
		return err
	}
	for _, entry := range table {
		p, err := newCase("table-" + entry.Case)
		if err != nil {
			return err
		}
		seen := []any{}
		for _, s := range entry.Steps {
			p.wire.answers = nil
			result, err := p.play(s)
			var refused *azcore.ResponseError
			if errors.As(err, &refused) {
				result = map[string]string{"error": refused.ErrorCode}
			} else if err != nil {
				return err
			}
			seen = append(seen, map[string]any{"op": s.Op, "answers": p.wire.answers, "result": result})
		}
		line, err := json.Marshal(map[string]any{"case": entry.Case, "seen": seen})
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
