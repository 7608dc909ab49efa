// Post one file with Node's fetch; print status, body as JSON. Arguments: URL, file, content type.
import { readFile } from "node:fs/promises";

const [url, file, contentType] = process.argv.slice(2);
const answer = await fetch(url, {
  method: "POST",
  body: await readFile(file),
  headers: { "content-type": contentType },
});
console.log(answer.status);
console.log(await answer.text());
