// Reads a release back with Octokit: prints of every asset its name, GitHub's digest of it, and the sha256 of its bytes.
// Arguments: API_URL TOKEN OWNER NAME TAG. Runs from standard input in the folder where Octokit is installed.
import { createHash } from "node:crypto";
import { Octokit } from "@octokit/rest";

const [baseUrl, auth, owner, repo, tag] = process.argv.slice(2);
const { repos } = new Octokit({ baseUrl, auth }).rest;
const { data: release } = await repos.getReleaseByTag({ owner, repo, tag });
const { data: assets } = await repos.listReleaseAssets({ owner, repo, release_id: release.id, per_page: 100 });
for (const { id: asset_id, name, digest } of assets) {
  const headers = { accept: "application/octet-stream" };
  const { data: bytes } = await repos.getReleaseAsset({ owner, repo, asset_id, headers });
  console.log(name, digest, createHash("sha256").update(Buffer.from(bytes)).digest("hex"));
}
