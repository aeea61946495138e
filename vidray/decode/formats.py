"""The containers and streams that are read, by FFmpeg's names of them, and what is to be known of each."""

VIDEO_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,mxf,dv,ivf,h264,hevc,m4v,obu,mjpeg,gif,apng,"
    "wav,w64,aiff,caf,au,mp3,flac,aac,ac3,eac3,amr"
)
"""FFmpeg's names of the containers that are opened. Playlists, scripts, devices and network formats are not."""

IMAGE_FORMATS = (
    "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,pbm_pipe,pam_pipe,qoi_pipe,j2k_pipe,"
    "jpegxl_pipe,gif_pipe,ico,gif,apng,mov,matroska,mjpeg"
)
"""What `read_image` opens: still images, and containers for the first frame of an animation."""

RAW_FORMATS = frozenset({"mpegvideo", "h264", "hevc", "m4v", "obu", "mjpeg"})
"""Elementary streams without timestamps."""

GUESSED_FORMATS = frozenset({"aac", "ac3", "eac3", "amr", "mp3"})
"""Elementary audio, of which FFmpeg tells the length from the bit rate of its beginning."""

UNSURE_FORMATS = RAW_FORMATS | {"mp3", "aac", "ac3", "eac3", "mpeg", "amr"}
"""Formats that FFmpeg also sees in arbitrary bytes: without one frame or audio, such a file is no media."""

ONE_DURATION = frozenset({"matroska", "mpegts", "mpeg", "flv", "ogg", "asf"})
"""Containers that know how long all of it is; FFmpeg says the same of each stream."""

SIGNATURES = ((4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1aE\xdf\xa3"), (0, b"RIFF"), (0, b"OggS"), (0, b"FLV"))
"""How files of common containers begin, and where: the offset in bytes, and the mark."""
