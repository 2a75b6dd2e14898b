"""The PyPI `atproto` SDK, as its documentation shows it: log in, post, upload, read back."""

import os
import time
import unittest

from atproto import Client, models
from atproto.exceptions import UnauthorizedError

PDS_URL = os.environ.get("PERCH_PDS_URL", "http://localhost:2583")
PASSWORD = "a-long-enough-password"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6364f8cf500f00038601805a347d6b0000000049454e44ae426082"
)


class Sdk(unittest.TestCase):
    """One account for all tests; the SDK's own entry points only."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.handle = f"py{time.time_ns():x}"[-16:] + ".test"
        cls.client = Client(base_url=f"{PDS_URL}/xrpc")
        made = cls.client.com.atproto.server.create_account(
            models.ComAtprotoServerCreateAccount.Data(
                handle=cls.handle, email=f"{cls.handle}@example.org", password=PASSWORD
            )
        )
        cls.did = made.did
        cls.profile = cls.client.login(cls.handle, PASSWORD)

    def test_login_answers_with_the_profile(self) -> None:
        self.assertEqual(self.profile.did, self.did)
        self.assertEqual(self.profile.handle, self.handle)

    def test_wrong_password_is_refused(self) -> None:
        with self.assertRaises(UnauthorizedError):
            Client(base_url=f"{PDS_URL}/xrpc").login(self.handle, "wrong")

    def test_post_is_read_back(self) -> None:
        post = self.client.send_post("Hello from the Python SDK: äöü 🐦")
        rkey = post.uri.split("/")[-1]
        read = self.client.get_post(rkey, self.handle)
        self.assertEqual(read.cid, post.cid)
        self.assertEqual(read.value.text, "Hello from the Python SDK: äöü 🐦")
        self.assertTrue(self.client.delete_post(post.uri))

    def test_blob_is_read_back(self) -> None:
        blob = self.client.upload_blob(PNG).blob
        self.assertEqual(blob.size, len(PNG))
        image = models.AppBskyEmbedImages.Image(alt="a pixel", image=blob)
        self.client.send_post("with a picture", embed=models.AppBskyEmbedImages.Main(images=[image]))
        read = self.client.com.atproto.sync.get_blob({"did": self.did, "cid": blob.cid.encode()})
        self.assertEqual(read, PNG)

    def test_session_string_logs_in_again(self) -> None:
        session = self.client.export_session_string()
        again = Client(base_url=f"{PDS_URL}/xrpc")
        again.login(session_string=session)
        self.assertEqual(again.me.did, self.did)


if __name__ == "__main__":
    unittest.main()
